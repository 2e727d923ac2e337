"use strict";
// The section "Try the model": a drawing, the model, and what is switched off.
const tryModel = (() => {
  const CANVAS_SIZE = 280; // about so many pixels, the longer side of the drawing
  const PAUSE = 400; // ms without a change, after which the prediction is announced
  const MAX_EXAMPLES = 12; // images in the menu

  /**
   * Start the section: `data` is its JSON, `explorer` the one whose images a drawing can begin with,
   * or null.
   */
  return function tryModel(data, model, explorer) {
    const pageModel = data.model;
    const shape = pageModel.image_shape;
    const [height, width] = shape;
    const views = makeTryViews(data, model, shape);
    const element = (id) => document.getElementById(id);
    const off = { heads: new Set(), layers: new Set(), patches: new Set() };
    const scale = Math.max(1, Math.round(CANVAS_SIZE / Math.max(height, width))); // pixels of a pixel
    let note = ""; // about a file, for the next announcement
    let frame = null;
    let pause = null;
    let run = 0; // counts changes, so that a ranking of an older image stops

    // Images to start from: the first ones of the attention explorer, and the one that it shows.
    const examples = (explorer?.images ?? []).slice(0, MAX_EXAMPLES);

    const blankBase = {
      kind: "blank",
      paint(context) {
        context.fillStyle = imageInput.grey(pageModel.background);
        context.fillRect(0, 0, context.canvas.width, context.canvas.height);
      },
    };

    function exampleBase(image) {
      const source = document.createElement("canvas");
      drawPixels(source, decodePixels(image.pixels), shape);
      return {
        kind: "example", index: image.index,
        paint(context) {
          context.imageSmoothingEnabled = false;
          context.drawImage(source, 0, 0, context.canvas.width, context.canvas.height);
        },
      };
    }

    function addExample(image) {
      const start = element("try-start");
      if ([...start.options].some(({ value }) => value === String(image.index))) return;
      start.append(new Option(explorer.nameText(image), image.index));
    }

    function brush() {
      const isErasing = document.querySelector("input[name=try-tool]:checked").value === "erase";
      const ink = element("try-color")?.value ?? imageInput.grey(255 - pageModel.background);
      const width = (Number(element("try-width").value) / 100) * Math.min(canvas.width, canvas.height);
      return { color: isErasing ? imageInput.grey(pageModel.background) : ink, width };
    }

    const canvas = element("try-canvas");
    Object.assign(canvas, { width: width * scale, height: height * scale });
    fitImage(canvas, shape, 17);
    const drawing = makeDrawing(canvas, examples.length ? exampleBase(examples[0]) : blankBase, brush, changed);

    const isCentred = () => Boolean(element("try-centred")?.checked) && drawing.base().kind !== "example";

    function bestOf(probabilities) {
      const best = indexOfLargest(probabilities);
      return { best, probability: probabilities[best] };
    }

    function describeOff() {
      const heads = [...off.heads].sort((a, b) => a - b).map(headName);
      const layers = [...off.layers].sort((a, b) => a - b).map(layerName);
      const patches = off.patches.size ? [`${off.patches.size} ${off.patches.size === 1 ? "patch" : "patches"}`] : [];
      return [...layers, ...heads, ...patches].join(", ");
    }

    const headName = (index) => `head ${(index % model.heads) + 1} of layer ${Math.floor(index / model.heads) + 1}`;
    const layerName = (layer) => `the attention of layer ${layer + 1}`;
    const isAnyOff = () => off.heads.size + off.layers.size + off.patches.size > 0;

    function announce(probabilities, before) {
      const describe = (some) => {
        const { best, probability } = bestOf(some);
        return [nameElement(data.class_names[best]), `, probability ${percent(probability)}`];
      };
      const isEmpty = drawing.base().kind === "blank" && !drawing.isChanged();
      const hint = note || (isEmpty ? "Nothing is drawn yet; the model names a class even so." : "");
      const parts = [hint, hint && " ", "Prediction: ", ...describe(probabilities), "."];
      if (isAnyOff()) parts.push(` Off: ${describeOff()}. With everything on: `, ...describe(before), ".");
      note = "";
      element("try-status").replaceChildren(...parts.filter(Boolean));
      element("try-app").setAttribute("aria-busy", "false");
    }

    // All that depends on the drawing or on what is off; at most once a frame.
    function update() {
      frame = null;
      const pixels = imageInput.readPixels(drawing.read(), shape, isCentred());
      const { probabilities, attention } = model.forward(pixels, off);
      const before = isAnyOff() ? model.forward(pixels).probabilities : probabilities;
      views.drawSeen(pixels);
      views.drawProbabilities(probabilities, before);
      views.drawHeads(tiles, tiles.map((_, index) => explain.headAttention(
        model, attention, Math.floor(index / model.heads), index % model.heads, off.patches)));
      views.drawRollout(explain.rollout(model, attention, pageModel, off), pixels);
      updateControls();
      clearTimeout(pause);
      pause = setTimeout(() => {
        announce(probabilities, before);
        rankHeads(pixels);
      }, PAUSE);
    }

    function changed() {
      run++;
      element("try-app").setAttribute("aria-busy", "true");
      views.fillRanking([]); // that of the former image or model
      frame ??= requestAnimationFrame(update);
    }

    function updateControls() {
      const base = drawing.base();
      if (base.kind === "file") offerFile(base);
      element("try").classList.toggle("is-compared", isAnyOff());
      // Not `disabled`, with which a button that was just pressed would lose the focus.
      element("try-undo").setAttribute("aria-disabled", String(!drawing.canUndo()));
      element("try-all-on").setAttribute("aria-disabled", String(!isAnyOff()));
      element("try-start").value = { blank: "blank", example: base.index, file: "file" }[base.kind];
      element("try-invert-line").hidden = base.kind !== "file";
      element("try-invert").checked = base.kind === "file" && base.isInverted;
      element("try-invert-reason").textContent = base.reason ?? "";
      element("try-width-text").textContent = `${element("try-width").value} % of the image`;
      if (element("try-centred")) {
        element("try-centred").disabled = base.kind === "example";
        element("try-centred-note").hidden = base.kind !== "example";
      }
      for (const [buttons, set] of [[headButtons, off.heads], [layerButtons, off.layers], [patchButtons, off.patches]]) {
        buttons.forEach((button, index) => button.setAttribute("aria-pressed", String(set.has(index))));
      }
      headButtons.forEach((button, index) =>
        button.classList.toggle("is-in-layer-off", off.layers.has(Math.floor(index / model.heads))));
    }

    // One head after the other, with pauses in which the page can react.
    function rankHeads(pixels) {
      if (!element("try-ranking-details").open) return;
      const started = run;
      const before = model.forward(pixels).probabilities;
      const entries = [];
      const next = () => {
        if (run !== started) return;
        const index = entries.length;
        if (index === model.layers * model.heads) {
          views.fillRanking(entries.sort((a, b) => b.moved - a.moved));
          return;
        }
        const { probabilities } = model.forward(pixels, { heads: new Set([index]), layers: new Set(), patches: new Set() });
        // Half of the sum, since what one class loses another one gains.
        const moved = probabilities.reduce((sum, share, number) => sum + Math.abs(share - before[number]) / 2, 0);
        entries.push({ name: headName(index), moved, ...bestOf(probabilities) });
        setTimeout(next);
      };
      next();
    }

    function toggle(set, index) {
      if (!set.delete(index)) set.add(index);
      changed();
    }

    function togglePatch(patch) {
      if (off.patches.size === model.patchCount - 1 && !off.patches.has(patch)) {
        note = "One patch has to stay on.";
        changed();
      } else {
        toggle(off.patches, patch);
      }
    }

    // The layer and the heads of a row are one row of a toolbar.
    function makeHeadButtons() {
      const columns = model.heads + 1;
      const places = Array.from({ length: model.layers * columns }, (_, n) => [Math.floor(n / columns), (n % columns) - 1]);
      const names = places.map(([layer, head]) => (head < 0 ? layerName(layer) : headName(layer * model.heads + head)));
      const buttons = makeSwitches(names, columns, (n) => {
        const [layer, head] = places[n];
        if (head < 0) toggle(off.layers, layer);
        else toggle(off.heads, layer * model.heads + head);
      });
      const grid = element("try-heads");
      grid.style.gridTemplateColumns = `max-content repeat(${model.heads}, minmax(2.4rem, 4.5rem))`;
      const text = (content) => Object.assign(document.createElement("span"), { textContent: content });
      grid.append(text(""), ...Array.from({ length: model.heads }, (_, head) => text(`head ${head + 1}`)), ...buttons);
      buttons.forEach((button, n) => button.append(places[n][1] < 0 ? `layer ${places[n][0] + 1}` : views.makeTile()));
      const isLayer = (_, n) => places[n][1] < 0;
      return [buttons.filter((button, n) => !isLayer(button, n)), buttons.filter(isLayer)];
    }

    function makePatchButtons() {
      const names = Array.from({ length: model.patchCount }, (_, patch) => `the patch in ${patchPlace(patch, model.columns)}`);
      const buttons = makeSwitches(names, model.columns, togglePatch);
      element("try-patches").style.gridTemplateColumns = `repeat(${model.columns}, 1fr)`;
      element("try-patches").append(...buttons);
      return buttons;
    }

    let opened = null; // the base of the file in the menu

    // The menu has one file: that of the drawing, also of one to which undo returned.
    function offerFile(base) {
      if (opened === base) return;
      opened = base;
      element("try-start").querySelector("[value=file]")?.remove();
      element("try-start").append(new Option(base.name, "file"));
    }

    async function openFile(file) {
      if (!file) return;
      try {
        const image = await imageInput.readFile(file);
        const base = imageInput.fileBase(file.name, image, pageModel);
        const examine = (change) => {
          const pixels = imageInput.readPixels(drawing.read(), shape, false);
          return imageInput.examineBorder(pixels.map(change), shape, pageModel.border_range);
        };
        drawing.start(base);
        const { looksUsual } = examine((value) => value);
        base.isInverted = true; // and inverted once more, the background is as bright as paper would be
        drawing.repaint();
        const { looksInverted, brightness } = examine((value) => 255 - value);
        base.isInverted = looksInverted && !looksUsual;
        if (base.isInverted) {
          const [is, are] = brightness > 0.5 ? ["bright", "dark"] : ["dark", "bright"];
          base.reason = `The border of ${file.name} is ${is}, that of the training images ${are}, so it is inverted.`;
          note = base.reason;
        }
        drawing.repaint();
      } catch {
        note = `${file.name} is not an image that this browser can read; use PNG, JPEG, GIF, BMP or WebP.`;
        changed();
      }
    }

    function listenToInputs() {
      element("try-start").addEventListener("change", (event) => {
        const { value } = event.target;
        const image = explorer?.images.find(({ index }) => String(index) === value);
        const notFile = image ? exampleBase(image) : blankBase;
        drawing.start(value === "file" ? opened : notFile);
      });
      element("try-explorer").addEventListener("click", () => {
        addExample(explorer.image());
        drawing.start(exampleBase(explorer.image()));
      });
      element("try-undo").addEventListener("click", () => drawing.undo());
      element("try-clear").addEventListener("click", () => drawing.start(blankBase));
      element("try-width").addEventListener("input", updateControls);
      element("try-centred")?.addEventListener("change", changed);
      element("try-invert").addEventListener("change", (event) => {
        Object.assign(drawing.base(), { isInverted: event.target.checked, reason: "" });
        drawing.repaint();
      });
      element("try-file").addEventListener("change", (event) => {
        openFile(event.target.files[0]);
        event.target.value = ""; // so that the same file can be chosen again
      });
      element("try-all-on").addEventListener("click", () => {
        for (const set of Object.values(off)) set.clear();
        changed();
      });
      element("try-ranking-details").addEventListener("toggle", changed);
    }

    function listenToDrops() {
      const section = element("try");
      const show = (isDropping) => section.classList.toggle("is-dropping", isDropping);
      section.addEventListener("dragover", (event) => {
        event.preventDefault();
        show(true);
      });
      section.addEventListener("dragleave", () => show(false));
      section.addEventListener("drop", (event) => {
        event.preventDefault();
        show(false);
        const [file] = event.dataTransfer.files;
        if (file) {
          openFile(file);
        } else {
          note = "What was dropped is no file; save the image, then drop its file.";
          changed();
        }
      });
    }

    const [headButtons, layerButtons] = makeHeadButtons();
    const patchButtons = makePatchButtons();
    const tiles = headButtons.map((button) => button.firstChild);
    examples.forEach(addExample);
    element("try-explorer").hidden = !examples.length;
    element("try-app").hidden = false;
    listenToInputs();
    listenToDrops();
    drawing.repaint();
  };
})();
