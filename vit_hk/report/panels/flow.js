"use strict";
// The panel "Attention flow": lines between the tokens of neighbouring layers, for one image.
function showFlow(explorer, data, network) {
  const element = (id) => document.getElementById(`flow-${id}`);
  const drawing = element("drawing");
  if (!drawing) return; // left out
  const LABELS = 64; // pixels to the left of the tokens
  const ROW = 92; // pixels between two layers
  const MAX_WIDTH = 45; // pixels of a line through which all of the rollout would go
  const MAX_RADIUS = 10; // pixels of the circle of a token through which all of it goes
  const MAX_PICTURES = 80; // patches: more are too small to be seen
  const { model, pageModel } = network;
  const { tokenCount, layers, columns, firstPatch } = model;
  let flow = null;
  let image = null;

  function tokenName(token) {
    return data.prefix_tokens[token] ?? patchPlace(token - firstPatch, columns);
  }

  function svg(name, attributes, ...children) {
    const node = document.createElementNS(element("svg").namespaceURI, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  }

  // Data URLs of the patches of the image.
  function cutPictures() {
    const whole = document.createElement("canvas");
    drawPixels(whole, decodePixels(image.pixels), data.image_shape);
    const [width, height] = [whole.width / columns, whole.height / model.rows];
    return Array.from({ length: model.patchCount }, (_, patch) => {
      const part = Object.assign(document.createElement("canvas"), { width, height });
      part.getContext("2d").drawImage(whole, -(patch % columns) * width, -Math.floor(patch / columns) * height);
      return part.toDataURL();
    });
  }

  function drawLine({ layer, from, to, share }, x, y) {
    const [top, bottom] = [y(layer), y(layer + 1)];
    const middle = (top + bottom) / 2;
    const isKept = from === to;
    const path = `M ${x(from)} ${top} C ${x(from)} ${middle}, ${x(to)} ${middle}, ${x(to)} ${bottom}`;
    const title = `Layer ${layer + 1}: ${isKept ? `kept by ${tokenName(from)}` : `from ${tokenName(from)} to ${tokenName(to)}`}, ${percent(share)}`;
    return svg("path", { d: path, class: isKept ? "kept" : "taken", "stroke-width": Math.max(0.5, MAX_WIDTH * share) },
      svg("title", {}, title));
  }

  function drawHeads(x, size, top) {
    const pictures = model.patchCount <= MAX_PICTURES ? cutPictures() : [];
    const images = pictures.map((href, patch) => svg("image", {
      href, x: x(firstPatch + patch) - size / 2, y: top - size, width: size, height: size,
    }));
    const labels = data.prefix_tokens.map((name, token) => svg("text", {
      x: x(token), y: top - 6, "text-anchor": "middle",
    }, name === "the class token" ? "class" : name.replace("register ", "r")));
    const rows = Array.from({ length: pictures.length / columns }, (_, row) => svg("text", {
      x: (x(firstPatch + row * columns) + x(firstPatch + (row + 1) * columns - 1)) / 2, y: top - size - 6, "text-anchor": "middle",
    }, `row ${row + 1}`));
    return [...images, ...labels, ...rows];
  }

  // Of each layer, the last one first: deeper in the model the rollout is spread over more lines.
  function strongest() {
    const count = Number(element("count").value);
    return [...flow.strongest].reverse().flatMap((edges) => edges.slice(0, count));
  }

  function draw() {
    if (!drawing.clientWidth) return;
    const column = (drawing.clientWidth - LABELS) / tokenCount;
    const size = Math.min(column - 2, 44);
    const top = size + 34;
    const x = (token) => LABELS + (token + 0.5) * column;
    const y = (row) => top + row * ROW;
    // Before the lines are known, so that the page below does not move when they come.
    element("svg").setAttribute("viewBox", `0 0 ${drawing.clientWidth} ${y(layers) + 14}`);
    element("count-text").textContent = element("count").value;
    if (!flow) return;
    const lines = strongest();
    const circles = flow.reach.flatMap((row, layer) => [...row].map((share, token) => svg("circle", {
      cx: x(token), cy: y(layer), r: Math.max(1.5, MAX_RADIUS * Math.sqrt(share)),
    }, svg("title", {}, `${tokenName(token)}: ${percent(share)}`))));
    const names = flow.reach.map((_, layer) => svg("text", { x: 0, y: y(layer) + 4 }, layer ? `layer ${layer}` : "input"));
    element("svg").setAttribute("aria-label", element("summary").textContent);
    element("svg").replaceChildren(
      ...flow.kept.map((edge) => drawLine(edge, x, y)), ...lines.map((edge) => drawLine(edge, x, y)),
      ...circles, ...drawHeads(x, size, top - 12), ...names);
    fillTable(lines);
  }

  function fillTable(lines) {
    const rows = lines.map(({ layer, from, to, share }) => {
      const row = document.createElement("tr");
      row.append(Object.assign(document.createElement("th"), { scope: "row", textContent: layer + 1 }));
      for (const text of [tokenName(from), tokenName(to), percent(share)]) row.insertCell().textContent = text;
      return row;
    });
    element("table").tBodies[0].replaceChildren(...rows);
  }

  function describe() {
    const best = strongest().reduce((a, b) => (b.share > a.share ? b : a), { share: 0 });
    const kept = flow.kept.reduce((sum, { share }) => sum + share, 0) / layers;
    element("summary").textContent = `${explorer.nameText(image)}. ` +
      (best.share ? `The strongest line, ${percent(best.share)}, goes from ${tokenName(best.from)} to ${tokenName(best.to)} in layer ${best.layer + 1}. ` : "") +
      `On average over the layers, ${percent(kept)} stays in its token.`;
  }

  function update() {
    if (image === explorer.image()) return;
    image = explorer.image();
    const { attention } = model.forward(decodePixels(image.pixels));
    flow = findFlow(model, explain.layerMatrices(model, attention, pageModel), Number(element("count").max));
    describe();
    draw();
  }

  element("app").hidden = false;
  element("count").addEventListener("input", draw);
  new ResizeObserver(draw).observe(drawing);
  addEventListener("beforeprint", update);
  // The attention of an image may take long to compute, so this begins when it comes into view.
  new IntersectionObserver((entries, observer) => {
    if (!entries.some(({ isIntersecting }) => isIntersecting)) return;
    observer.disconnect();
    explorer.root.addEventListener("explorer-change", update);
    update();
  }, { rootMargin: "50%" }).observe(drawing);
}
