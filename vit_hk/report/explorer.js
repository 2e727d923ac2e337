"use strict";
// The attention explorer: images, a map over the patches of one of them, and its controls.
const makeExplorer = (() => {
  const POOLED = "pooled"; // as a query: the pooled token, or the mean over all patches
  const ATTENTION = "attention"; // as a map: the attention of one layer
  const MEAN = -1; // as a head: the mean over heads
  const PAUSE = 400; // ms without a change, after which it is announced

  const scoreText = (score) => score.toFixed(2).replace(/^-0\.00$/, "0.00");
  const maxOf = (arrays) => arrays.reduce((max, array) => array.reduce((a, b) => Math.max(a, b), max), 0);

  /**
   * Make an explorer of the elements below `root`, which explorer.html wrote, and show `root`.
   *
   * `data` is an `Explorer` of vit_hk/report/explorer.py; `network` is null, or `{ model, pageModel }`,
   * which computes the attention of images without stored attention. Nothing outside of `root` is
   * read or written, so a page can have several explorers. After each change `root` dispatches the
   * event `explorer-change`, which bubbles; its `detail` is what `read()` returns, and `show()` takes:
   *
   * - `image`: index in the test set
   * - `map`: "attention", or the key of a map over all layers
   * - `layer`: from 0
   * - `head`: from 0, or -1 for the mean
   * - `query`: number of a token, or "pooled"
   * - `pinned`: whether the query stays when the pointer or the focus moves
   * - `activePatch`: the patch under the pointer or with the focus, or null
   */
  return function makeExplorer(root, data, network) {
    const part = (name) => root.querySelector(`[data-part="${name}"]`);
    const patchCount = data.rows * data.columns;
    const prefixCount = data.prefix_tokens.length; // tokens before the patches
    const tokenCount = prefixCount + patchCount;
    const attentionOf = makeAttentionSource(data, network);
    const byIndex = new Map(data.images.map((image) => [image.index, image]));
    const state = {
      image: data.images[0], map: data.best_map ?? ATTENTION, layer: data.layers - 1, head: MEAN,
      query: POOLED, pinned: false,
      activePatch: null, // under the pointer or with the focus
    };
    let outline = null; // of the image
    let pause = null;
    let overLayers = data.best_map ?? data.maps[0]?.key; // the map over all layers that was shown last

    const patchName = (patch) => patchPlace(patch, data.columns);
    const className = (number) => nameElement(data.class_names[number]);
    const attention = () => attentionOf(state.image);
    const mapOf = (key) => data.maps.find((map) => map.key === key);

    function tokenName(token) {
      if (token === POOLED) return data.query_name;
      return data.prefix_tokens[token] ?? `the patch in ${patchName(token - prefixCount)}`;
    }

    // True and predicted class, with each name isolated from the direction of the text around it.
    function nameImage({ label, predicted }) {
      const parts = ["true ", className(label)];
      return label === predicted ? parts : [...parts, ", predicted ", className(predicted)];
    }

    // The pinned token, else the patch under the pointer, else the pooled token.
    function query() {
      if (!attention().ofToken) return POOLED;
      if (state.pinned) return state.query;
      return state.activePatch !== null && isOneLayer() ? prefixCount + state.activePatch : POOLED;
    }

    const isOneLayer = () => state.map === ATTENTION;
    const isPinShown = () => state.pinned && query() === state.query;

    function headAttention(layer, head) {
      const token = query();
      return token === POOLED ? attention().pooled(layer, head) : attention().ofToken(layer, head, token);
    }

    function layerAttention(layer, head) {
      if (head !== MEAN) return headAttention(layer, head);
      return meanOverHeads(data.heads, (each) => headAttention(layer, each));
    }

    // Of all layers and heads: the scale of the sheet, and of the PNG files.
    function maxOfAttention() {
      const all = Array.from({ length: data.layers * data.heads }, (_, n) =>
        headAttention(Math.floor(n / data.heads), n % data.heads));
      return maxOf(all);
    }

    const maxOfMaps = () => maxOf(data.maps.map(({ key }) => attention().map(key)));

    function describe(weights) {
      if (!isOneLayer()) return describeMap(mapOf(state.map));
      const head = state.head === MEAN ? "mean over heads" : `head ${state.head + 1}`;
      const rest = Math.max(0, 1 - weights.reduce((sum, weight) => sum + weight, 0));
      return `Layer ${state.layer + 1}, ${head}: attention of ${tokenName(query())}${isPinShown() ? " (pinned)" : ""}.` +
        (data.other_tokens ? ` ${(100 * rest).toFixed(1)} % of it goes to ${data.other_tokens}.` : "");
    }

    function describeMap({ name, score, key }) {
      if (score === null) return `Map over all layers: ${name}.`;
      const best = key === data.best_map ? ", the best of this run" : "";
      const reference = data.brightness_score;
      const brightness = reference === null ? "" : `; brightest patches first: ${scoreText(reference)}`;
      return `Map over all layers: ${name}. Its faithfulness on test images is ${scoreText(score)}${best} ` +
        `(at most 1; random order: 0${brightness}).`;
    }

    // By more than the noise of the images, where that is known; a map that was not measured has no score.
    function isWorseThanRandom({ score, score_error: error }) {
      return score !== null && error > 0 && score < -2 * error;
    }

    // What a reader should know before believing the map.
    function warn() {
      if (!isOneLayer()) return isWorseThanRandom(mapOf(state.map)) ? "This map is worse than a random order of the patches." : "";
      if (state.pinned && !isPinShown() && tokenName(state.query) !== data.query_name) return "Of this image, the attention of single tokens is left out.";
      if (state.layer !== data.layers - 1 || query() === POOLED) return "";
      const hasClassToken = data.prefix_tokens.includes(data.query_name); // else registers alone are before the patches
      const isRead = hasClassToken ? tokenName(query()) === data.query_name : query() >= data.prefix_tokens.length;
      const read = hasClassToken ? `only ${data.query_name} is` : "only the patches are";
      return isRead ? "" : `Read by nobody: of the last layer, ${read} used for the prediction.`;
    }

    function describePatch(weights) {
      const patch = state.activePatch ?? indexOfLargest(weights);
      const place = patchName(patch);
      const share = percent(weights[patch]);
      const whole = isOneLayer() ? "attention" : "map";
      if (state.activePatch === null && !weights[patch]) return `This ${whole} is zero at all patches.`;
      if (state.activePatch === null) return `The largest share of this ${whole}, ${share}, goes to ${place}.`;
      const source = isOneLayer() ? `of the attention of ${tokenName(query())}` : "of the map";
      return `${place.replace("row", "Row")} gets ${share} ${source}.`;
    }

    function fillTable(weights) {
      if (!part("table-details").open) return;
      const header = (text, scope) => Object.assign(document.createElement("th"), { textContent: text, scope });
      const head = document.createElement("tr");
      head.append(document.createElement("td"));
      for (let column = 1; column <= data.columns; column++) head.append(header(column, "col"));
      part("table").tHead.replaceChildren(head);
      const rows = Array.from({ length: data.rows }, (_, row) => {
        const line = document.createElement("tr");
        line.append(header(row + 1, "row"));
        for (const weight of weights.subarray(row * data.columns, (row + 1) * data.columns)) {
          line.insertCell().textContent = percentNumber(weight);
        }
        return line;
      });
      part("table").tBodies[0].replaceChildren(...rows);
    }

    function updateControls() {
      part("map-select").value = state.map; // a browser may restore another value after a reload
      part("query").value = state.pinned ? state.query : "";
      part("layer").value = isOneLayer() ? state.layer + 1 : 0;
      part("layer").setAttribute("aria-valuetext", isOneLayer() ? `layer ${state.layer + 1} of ${data.layers}` : "all layers");
      part("layer-text").textContent = isOneLayer() ? `${state.layer + 1} of ${data.layers}` : "all; move to see one";
      part("head").value = isOneLayer() ? state.head : "";
      part("unpin").setAttribute("aria-disabled", String(!state.pinned));
    }

    function draw() {
      const weights = isOneLayer() ? layerAttention(state.layer, state.head) : attention().map(state.map);
      const sheetMax = maxOfAttention();
      const maxOfAll = () => (isOneLayer() ? sheetMax : maxOfMaps());
      const max = part("scale").value === "all" ? maxOfAll() : maxOf([weights]);
      const queryPatch = isOneLayer() && query() !== POOLED ? query() - prefixCount : -1;
      drawMap(part("map"), data, weights, colorScale(data.palette, max), outline);
      labelPatches(weights, queryPatch, state.pinned);
      drawSheet?.(layerAttention, colorScale(data.palette, sheetMax), isOneLayer() ? state : null);
      part("sheet-max").textContent = percent(sheetMax);
      fillTable(weights);
      part("description").textContent = describe(weights);
      part("warning").textContent = warn();
      part("warning").hidden = !warn();
      part("patch-text").textContent = describePatch(weights);
      part("bar-middle").textContent = percent(max / 4); // its square root is half of that of the maximum
      part("bar-max").textContent = percent(max);
      part("bar-unit").textContent = isOneLayer()
        ? `attention weight (query: ${tokenName(query())})` : "share of the map's sum";
      updateControls();
    }

    function describeImage() {
      const { image } = state;
      const { index, label, predicted, confidence } = image;
      drawPixels(part("picture"), decodePixels(image.pixels), data.image_shape);
      outline = traceOutline(decodePixels(image.pixels), data.image_shape);
      part("prediction").replaceChildren(`Test image ${index}: `, ...nameImage(image),
        ` (${label === predicted ? "correct" : "wrong"}, probability ${percent(confidence)})`);
      strip.mark(image);
    }

    function read() {
      const { map, layer, head, pinned, activePatch } = state;
      return { image: state.image.index, map, layer, head, query: pinned ? state.query : query(), pinned, activePatch };
    }

    // The one announcement of a change, when no other change follows.
    function announce() {
      clearTimeout(pause);
      pause = setTimeout(() => {
        part("status").textContent = [part("prediction"), part("description"), part("warning"), part("patch-text")]
          .map((element) => element.textContent).join(" ");
      }, PAUSE);
    }

    function changed() {
      draw();
      root.dispatchEvent(new CustomEvent("explorer-change", { bubbles: true, detail: read() }));
    }

    // A change of anything but the patch under the pointer, of which its label is read.
    function set(changes) {
      const isOther = Object.keys(changes).some((key) => changes[key] !== state[key]);
      if (!isOther) return;
      const before = { ...state };
      Object.assign(state, changes);
      if (!isOneLayer()) overLayers = state.map;
      if (state.image !== before.image) describeImage();
      changed();
      if (Object.keys(changes).some((key) => key !== "activePatch" && state[key] !== before[key])) announce();
    }

    function point(patch) {
      if (state.activePatch === patch) return;
      state.activePatch = patch;
      changed();
    }

    const unpin = () => set({ query: POOLED, pinned: false });

    function togglePin(patch) {
      const query = prefixCount + patch;
      if (state.pinned && state.query === query && isOneLayer()) unpin();
      else set({ query, pinned: true, map: ATTENTION });
    }

    function changeLayer(difference) {
      const layer = Math.min(data.layers - 1, Math.max(0, state.layer + difference));
      set({ layer, map: ATTENTION });
    }

    function handleKey(event) {
      if (hasModifier(event)) return;
      if (event.key === "PageUp") changeLayer(-1);
      else if (event.key === "PageDown") changeLayer(1);
      else if (event.key === "Escape") unpin();
      else return;
      event.preventDefault();
    }

    function fillSelects() {
      part("map-select").append(new Option("attention of one layer", ATTENTION));
      const all = Object.assign(document.createElement("optgroup"), { label: "all layers" });
      for (const { key, name, score } of data.maps) {
        all.append(new Option(score === null ? name : `${name}, faithfulness ${scoreText(score)}`, key));
      }
      part("map-select").append(all);
      part("layer").max = data.layers;
      part("head").append(Object.assign(new Option("all heads", ""), { hidden: true }), new Option("mean over heads", MEAN));
      for (let head = 0; head < data.heads; head++) part("head").append(new Option(`head ${head + 1}`, head));
      part("query").append(new Option(`not pinned: the patch pointed at, or ${data.query_name}`, ""));
      if (!data.prefix_tokens.includes(data.query_name)) part("query").append(new Option(data.query_name, POOLED));
      for (let token = 0; token < tokenCount; token++) part("query").append(new Option(tokenName(token), token));
    }

    function listen() {
      part("map-select").addEventListener("change", (event) => set({ map: event.target.value }));
      part("layer").addEventListener("input", ({ target: { value } }) => {
        if (Number(value)) set({ layer: Number(value) - 1, map: ATTENTION });
        else set({ map: overLayers ?? ATTENTION });
      });
      part("head").addEventListener("change", (event) => set({ head: Number(event.target.value), map: ATTENTION }));
      part("query").addEventListener("change", ({ target: { value } }) => {
        if (value === "") unpin();
        else set({ query: value === POOLED ? POOLED : Number(value), pinned: true, map: ATTENTION });
      });
      part("unpin").addEventListener("click", unpin);
      part("scale").addEventListener("change", draw);
      part("table-details").addEventListener("toggle", draw);
      root.addEventListener("keydown", handleKey);
      root.addEventListener("submit", (event) => event.preventDefault());
    }

    fillSelects();
    part("colors").style.background = `linear-gradient(to right, ${data.palette.join(", ")})`;
    const strip = makeImageStrip(part, data, nameImage, (image) => set({ image }));
    const labelPatches = makePatchGrid(part("patches"), data, patchName, { point, pin: togglePin });
    const drawSheet = makeSheet(part("sheet"), data, (layer, head) => set({ layer, head, map: ATTENTION }));
    part("sheet-figure").hidden = !drawSheet;
    listen();
    root.hidden = false;
    describeImage();
    draw();

    return {
      root, read,
      has: (index) => byIndex.has(index),
      /** Return whether there is such a map: "attention", or one over all layers that this model has. */
      hasMap: (key) => key === ATTENTION || mapOf(key) !== undefined,
      /** Change what is shown; `image` is an index of the test set that the page has. */
      show({ image, ...changes }) {
        set(image === undefined ? changes : { image: byIndex.get(image), ...changes });
      },
      images: data.images,
      /** Return the image that is shown, as `data.images` has it. */
      image: () => state.image,
      /** Return the number and the classes of an image as text. */
      nameText: (image) => `Test image ${image.index}: ${nameImage(image).map((part) => part.textContent ?? part).join("")}`,
      /** Show the `count` images of a true and a predicted class only; return whether the page has all of them. */
      filter: (classes) => strip.filter(classes),
      focusImages: () => strip.focus(),
    };
  };
})();
