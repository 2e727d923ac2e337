"use strict";
(() => {
  const POOLED = -1; // as a query: the pooled token, or the mean over all patches
  const ATTENTION = -1; // as a map: the attention of one layer
  const MEAN = -1; // as a head: the mean over heads
  const MAX_SHEET_TILES = 400; // with more layers and heads, tiles are too small to distinguish
  const data = JSON.parse(document.getElementById("explorer-data").textContent);
  const element = (id) => document.getElementById(id);
  const patchCount = data.rows * data.columns;
  const prefixCount = data.prefix_tokens.length; // tokens before the patches
  const tokenCount = prefixCount + patchCount;
  const state = {
    image: 0, map: ATTENTION, layer: data.layers - 1, head: MEAN,
    query: POOLED, // token whose attention is shown
    pinned: false, // whether the query stays when the pointer or the focus moves
    activePatch: null, // patch under the pointer or with the focus
  };
  const cells = [];
  const decodedImages = new Map(); // by number of the image

  function decode(text) {
    const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    return Float64Array.from({ length: bytes.length / 2 }, (_, n) => view.getUint16(2 * n, true) / 65535);
  }

  function currentArrays() {
    if (!decodedImages.has(state.image)) {
      const image = data.images[state.image];
      decodedImages.set(state.image, {
        classifiedAttention: decode(image.pooled_attention),
        maps: decode(image.maps),
        tokenAttention: decode(image.token_attention),
      });
    }
    return decodedImages.get(state.image);
  }

  const patchesAt = (array, index) => array.subarray(index * patchCount, (index + 1) * patchCount);

  function headAttention(layer, head) {
    const index = layer * data.heads + head;
    return state.query === POOLED
      ? patchesAt(currentArrays().classifiedAttention, index)
      : patchesAt(currentArrays().tokenAttention, index * tokenCount + state.query);
  }

  function layerAttention(layer, head) {
    if (head !== MEAN) return headAttention(layer, head);
    const mean = new Float64Array(patchCount);
    for (let each = 0; each < data.heads; each++) {
      headAttention(layer, each).forEach((weight, patch) => { mean[patch] += weight / data.heads; });
    }
    return mean;
  }

  function maxOf(arrays) {
    return arrays.reduce((max, array) => array.reduce((a, b) => Math.max(a, b), max), 0);
  }

  // Over all layers and heads, or over all maps: the scale of the PNG files.
  function maxOfAll() {
    if (state.map !== ATTENTION) return maxOf([currentArrays().maps]);
    const arrays = [];
    for (let layer = 0; layer < data.layers; layer++) {
      for (let head = 0; head < data.heads; head++) arrays.push(headAttention(layer, head));
    }
    return maxOf(arrays);
  }

  function color(weight, max) {
    const share = max > 0 ? Math.min(1, weight / max) : 0;
    return data.palette[Math.round(share * (data.palette.length - 1))];
  }

  const percent = (share) => `${(100 * share).toFixed(1)} %`;
  const patchName = (patch) => `row ${Math.floor(patch / data.columns) + 1}, column ${(patch % data.columns) + 1}`;

  function tokenName(token) {
    if (token === POOLED) return data.query_name;
    return data.prefix_tokens[token] ?? `the patch in ${patchName(token - prefixCount)}`;
  }

  function describe(weights) {
    if (state.map !== ATTENTION) {
      const score = data.scores[state.map];
      return `Map over all layers: ${data.map_names[state.map]}.` + (score === null ? "" :
        ` Faithfulness of the method on test images: ${score.toFixed(2)} (maximum 1; about 0 for a random order of patches).`);
    }
    const head = state.head === MEAN ? "mean over heads" : `head ${state.head + 1}`;
    const rest = Math.max(0, 1 - weights.reduce((sum, weight) => sum + weight, 0));
    return `Layer ${state.layer + 1}, ${head}: attention of ${tokenName(state.query)}${state.pinned ? " (pinned)" : ""}.` +
      (data.other_tokens ? ` ${percent(rest)} of it goes to ${data.other_tokens}.` : "");
  }

  function describePatch(weights) {
    if (state.activePatch !== null) return `${patchName(state.activePatch)}: ${percent(weights[state.activePatch])}`;
    const patch = weights.indexOf(maxOf([weights]));
    return `maximum in ${patchName(patch)}: ${percent(weights[patch])}`;
  }

  function drawPatches(weights, max) {
    const queryPatch = state.map === ATTENTION ? state.query - prefixCount : -1;
    cells.forEach((cell, patch) => {
      cell.style.backgroundColor = color(weights[patch], max) +
        Math.round(255 * data.alpha).toString(16);
      cell.setAttribute("aria-label", `${patchName(patch)}: ${percent(weights[patch])}`);
      cell.classList.toggle("query", patch === queryPatch);
      cell.setAttribute("aria-selected", String(state.pinned && patch === queryPatch));
    });
  }

  function drawSheet(max) {
    const figure = element("sheet-figure");
    figure.hidden = state.map !== ATTENTION || data.layers * data.heads > MAX_SHEET_TILES;
    if (figure.hidden) return;
    const canvas = element("sheet");
    const size = Math.max(1, Math.floor(56 / Math.max(data.rows, data.columns))); // pixels of a patch
    const [width, height] = [data.columns * size + 4, data.rows * size + 4]; // of a tile
    canvas.width = data.heads * width;
    canvas.height = data.layers * height;
    canvas.style.width = `min(100%, ${(32 * canvas.width) / canvas.height}rem)`;
    element("sheet-max").textContent = percent(max);
    const context = canvas.getContext("2d");
    for (let layer = 0; layer < data.layers; layer++) {
      for (let head = 0; head < data.heads; head++) {
        if (layer === state.layer && (state.head === MEAN || head === state.head)) {
          context.fillStyle = "#de8f05";
          context.fillRect(head * width, layer * height, width, height);
        }
        headAttention(layer, head).forEach((weight, patch) => {
          context.fillStyle = color(weight, max);
          context.fillRect(
            head * width + 2 + (patch % data.columns) * size,
            layer * height + 2 + Math.floor(patch / data.columns) * size, size, size);
        });
      }
    }
  }

  function fillTable(weights) {
    if (!element("numbers-details").open) return;
    const header = (text, scope) => Object.assign(document.createElement("th"), { textContent: text, scope });
    const head = document.createElement("tr");
    head.append(document.createElement("td"));
    for (let column = 1; column <= data.columns; column++) head.append(header(column, "col"));
    element("numbers").tHead.replaceChildren(head);
    const rows = Array.from({ length: data.rows }, (_, row) => {
      const line = document.createElement("tr");
      line.append(header(row + 1, "row"));
      for (const weight of weights.subarray(row * data.columns, (row + 1) * data.columns)) {
        line.insertCell().textContent = (100 * weight).toFixed(1);
      }
      return line;
    });
    element("numbers").tBodies[0].replaceChildren(...rows);
  }

  function updateControls() {
    element("map").value = state.map; // a browser may restore another value after a reload
    element("query").value = state.query;
    element("layer").value = state.layer + 1;
    element("layer").setAttribute("aria-valuetext", `layer ${state.layer + 1} of ${data.layers}`);
    element("layer-text").textContent = `${state.layer + 1} of ${data.layers}`;
    element("head").value = state.head;
    const oneLayer = state.map === ATTENTION;
    for (const id of ["layer", "head"]) element(id).disabled = !oneLayer;
    element("query").disabled = !(oneLayer && data.images[state.image].token_attention);
  }

  function draw() {
    const weights = state.map === ATTENTION
      ? layerAttention(state.layer, state.head) : patchesAt(currentArrays().maps, state.map);
    const sheetMax = maxOfAll();
    const max = element("scale").value === "all" ? sheetMax : maxOf([weights]);
    drawPatches(weights, max);
    drawSheet(sheetMax);
    fillTable(weights);
    element("description").textContent = describe(weights);
    element("patch-value").textContent = describePatch(weights);
    element("bar-max").textContent = percent(max);
    element("bar-unit").textContent = state.map === ATTENTION
      ? `attention weight (query: ${tokenName(state.query)})` : "share of the map's sum";
    updateControls();
  }

  function selectQuery(token, pinned) {
    if (!data.images[state.image].token_attention || state.map !== ATTENTION) token = POOLED;
    state.query = token;
    state.pinned = pinned && token !== POOLED;
  }

  // The patch under the pointer or with the focus is the query, unless another token is pinned.
  function setActivePatch(patch) {
    state.activePatch = patch;
    if (!state.pinned) selectQuery(patch === null ? POOLED : prefixCount + patch, false);
    draw();
  }

  function togglePin(patch) {
    const token = prefixCount + patch;
    const unpin = state.pinned && state.query === token;
    selectQuery(unpin ? POOLED : token, !unpin);
    draw();
  }

  function selectImage(image) {
    state.image = image;
    selectQuery(POOLED, false);
    const { picture, index, label, predicted, confidence } = data.images[image];
    const names = document.querySelectorAll(".images label span");
    element("picture").src = picture;
    element("patches").style.backgroundImage = `url(${picture})`;
    element("prediction").replaceChildren(
      `Test image ${index}: `, ...names[image].cloneNode(true).childNodes,
      ` (${label === predicted ? "correct" : "wrong"}, probability ${(100 * confidence).toFixed(0)} %)`);
    draw();
  }

  function changeLayer(difference) {
    if (state.map !== ATTENTION) return;
    state.layer = Math.min(data.layers - 1, Math.max(0, state.layer + difference));
    draw();
  }

  function handleKey(event, patch) {
    if (event.key === "PageUp") changeLayer(-1);
    else if (event.key === "PageDown") changeLayer(1);
    else if (event.key === "Escape") { selectQuery(POOLED, false); draw(); }
    else if (!moveInGrid(cells, data.columns, patch, event.key)) return;
    event.preventDefault();
  }

  function makeCells() {
    const grid = element("patches");
    grid.style.aspectRatio = `${data.columns} / ${data.rows}`;
    for (let row = 0; row < data.rows; row++) {
      const line = document.createElement("div");
      line.setAttribute("role", "row");
      for (let column = 0; column < data.columns; column++) {
        const patch = cells.length;
        const cell = document.createElement("button");
        cell.type = "button";
        cell.setAttribute("role", "gridcell");
        cell.tabIndex = patch === 0 ? 0 : -1;
        cell.addEventListener("pointerenter", () => setActivePatch(patch));
        cell.addEventListener("focus", () => setActivePatch(patch));
        cell.addEventListener("blur", () => setActivePatch(null));
        cell.addEventListener("click", () => togglePin(patch));
        cell.addEventListener("keydown", (event) => handleKey(event, patch));
        line.append(cell);
        cells.push(cell);
      }
      grid.append(line);
    }
    grid.addEventListener("pointerleave", () => setActivePatch(null));
  }

  function fillQueries() {
    const option = (token) => new Option(tokenName(token), token);
    element("query").append(option(POOLED));
    for (let token = 0; token < tokenCount; token++) {
      if (tokenName(token) !== data.query_name) element("query").append(option(token));
    }
  }

  makeCells();
  fillQueries();
  document.querySelectorAll("input[name=image]").forEach((input) =>
    input.addEventListener("change", () => selectImage(Number(input.value))));
  element("map").addEventListener("change", (event) => {
    state.map = Number(event.target.value);
    selectQuery(POOLED, false);
    draw();
  });
  element("layer").addEventListener("input", (event) => {
    state.layer = Number(event.target.value) - 1;
    draw();
  });
  element("head").addEventListener("change", (event) => {
    state.head = Number(event.target.value);
    draw();
  });
  element("query").addEventListener("change", (event) => {
    selectQuery(Number(event.target.value), true);
    draw();
  });
  element("scale").addEventListener("change", draw);
  element("sheet").addEventListener("click", (event) => {
    const box = event.target.getBoundingClientRect();
    state.layer = Math.floor(((event.clientY - box.top) / box.height) * data.layers);
    state.head = Math.floor(((event.clientX - box.left) / box.width) * data.heads);
    draw();
  });
  element("numbers-details").addEventListener("toggle", draw);
  selectImage(Number(document.querySelector("input[name=image]:checked").value));
})();
