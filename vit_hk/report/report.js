"use strict";
(() => {
  const READER = -1; // instead of a token: the one that is classified, or the mean of all patches
  const ATTENTION = -1; // instead of a method: the attention of one layer
  const MEAN = -1; // instead of a head: the mean of all
  const MOST_TILES = 400; // of the sheet; more could not be told apart
  const data = JSON.parse(document.getElementById("explorer-data").textContent);
  const element = (id) => document.getElementById(id);
  const patchCount = data.rows * data.columns;
  const tokenCount = data.tokens.length + patchCount;
  const state = {
    image: 0, map: ATTENTION, layer: data.layers - 1, head: MEAN,
    token: READER, // that looks
    kept: false, // it stays when the pointer moves on
    pointed: null, // patch below the pointer or with the focus
  };
  const cells = [];
  const unpacked = new Map(); // image -> numbers

  function unpack(text) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    return Float64Array.from({ length: bytes.length / 2 }, (_, n) => view.getUint16(2 * n, true) / 65535);
  }

  function numbers() {
    if (!unpacked.has(state.image)) {
      const { reader, methods, views } = data.images[state.image];
      unpacked.set(state.image, { reader: unpack(reader), methods: unpack(methods), views: unpack(views) });
    }
    return unpacked.get(state.image);
  }

  const part = (all, place) => all.subarray(place * patchCount, (place + 1) * patchCount);

  function ofHead(layer, head) {
    const place = layer * data.heads + head;
    return state.token === READER
      ? part(numbers().reader, place)
      : part(numbers().views, place * tokenCount + state.token);
  }

  function ofLayer(layer, head) {
    if (head !== MEAN) return ofHead(layer, head);
    const mean = new Float64Array(patchCount);
    for (let each = 0; each < data.heads; each++) {
      ofHead(layer, each).forEach((share, patch) => { mean[patch] += share / data.heads; });
    }
    return mean;
  }

  function largestOf(parts) {
    return parts.reduce((most, shares) => shares.reduce((a, b) => Math.max(a, b), most), 0);
  }

  // Of all layers and heads, or of all methods: the scale of the figures.
  function largestOfAll() {
    if (state.map !== ATTENTION) return largestOf([numbers().methods]);
    const parts = [];
    for (let layer = 0; layer < data.layers; layer++) {
      for (let head = 0; head < data.heads; head++) parts.push(ofHead(layer, head));
    }
    return largestOf(parts);
  }

  function color(share, most) {
    const place = most > 0 ? Math.min(1, share / most) : 0;
    return data.palette[Math.round(place * (data.palette.length - 1))];
  }

  const percent = (share) => `${(100 * share).toFixed(1)} %`;
  const place = (patch) => `row ${Math.floor(patch / data.columns) + 1}, column ${(patch % data.columns) + 1}`;

  function nameOf(token) {
    if (token === READER) return data.reader;
    return data.tokens[token] ?? `the patch in ${place(token - data.tokens.length)}`;
  }

  function describe(shares) {
    if (state.map !== ATTENTION) {
      const score = data.scores[state.map];
      return `Map of all layers: ${data.methods[state.map]}.` + (score === null ? "" :
        ` Faithfulness of its order of patches on test images: ${score.toFixed(2)} (1 at most, a random order has about 0).`);
    }
    const head = state.head === MEAN ? "mean of the heads" : `head ${state.head + 1}`;
    const rest = Math.max(0, 1 - shares.reduce((sum, share) => sum + share, 0));
    return `Layer ${state.layer + 1}, ${head}: where ${nameOf(state.token)} looks${state.kept ? " (kept)" : ""}.` +
      (data.others ? ` ${percent(rest)} of its attention goes to ${data.others}.` : "");
  }

  function pointOut(shares) {
    if (state.pointed !== null) return `${place(state.pointed)}: ${percent(shares[state.pointed])}`;
    const patch = shares.indexOf(largestOf([shares]));
    return `most in ${place(patch)}: ${percent(shares[patch])}`;
  }

  function drawPatches(shares, most) {
    const looking = state.map === ATTENTION ? state.token - data.tokens.length : -1;
    cells.forEach((cell, patch) => {
      cell.style.backgroundColor = color(shares[patch], most) +
        Math.round(255 * data.alpha).toString(16);
      cell.setAttribute("aria-label", `${place(patch)}: ${percent(shares[patch])}`);
      cell.classList.toggle("looks", patch === looking);
      cell.setAttribute("aria-selected", String(state.kept && patch === looking));
    });
  }

  function drawSheet(most) {
    const figure = element("sheet-figure");
    figure.hidden = state.map !== ATTENTION || data.layers * data.heads > MOST_TILES;
    if (figure.hidden) return;
    const canvas = element("sheet");
    const size = Math.max(1, Math.floor(56 / Math.max(data.rows, data.columns))); // pixels of a patch
    const [wide, tall] = [data.columns * size + 4, data.rows * size + 4];
    canvas.width = data.heads * wide;
    canvas.height = data.layers * tall;
    canvas.style.width = `min(100%, ${(32 * canvas.width) / canvas.height}rem)`;
    element("sheet-end").textContent = percent(most);
    const context = canvas.getContext("2d");
    for (let layer = 0; layer < data.layers; layer++) {
      for (let head = 0; head < data.heads; head++) {
        if (layer === state.layer && (state.head === MEAN || head === state.head)) {
          context.fillStyle = "#de8f05";
          context.fillRect(head * wide, layer * tall, wide, tall);
        }
        ofHead(layer, head).forEach((share, patch) => {
          context.fillStyle = color(share, most);
          context.fillRect(
            head * wide + 2 + (patch % data.columns) * size,
            layer * tall + 2 + Math.floor(patch / data.columns) * size, size, size);
        });
      }
    }
  }

  function fillTable(shares) {
    if (!element("numbers-details").open) return;
    const header = (text, scope) => Object.assign(document.createElement("th"), { textContent: text, scope });
    const top = document.createElement("tr");
    top.append(document.createElement("td"));
    for (let column = 1; column <= data.columns; column++) top.append(header(column, "col"));
    element("numbers").tHead.replaceChildren(top);
    const rows = Array.from({ length: data.rows }, (_, row) => {
      const line = document.createElement("tr");
      line.append(header(row + 1, "row"));
      for (const share of shares.subarray(row * data.columns, (row + 1) * data.columns)) {
        line.insertCell().textContent = (100 * share).toFixed(1);
      }
      return line;
    });
    element("numbers").tBodies[0].replaceChildren(...rows);
  }

  function draw() {
    const shares = state.map === ATTENTION
      ? ofLayer(state.layer, state.head) : part(numbers().methods, state.map);
    const mostOfAll = largestOfAll();
    const most = element("scale").value === "all" ? mostOfAll : largestOf([shares]);
    drawPatches(shares, most);
    drawSheet(mostOfAll);
    fillTable(shares);
    element("who").textContent = describe(shares);
    element("value").textContent = pointOut(shares);
    element("bar-end").textContent = percent(most);
    element("bar-unit").textContent = state.map === ATTENTION
      ? `share of the attention of ${nameOf(state.token)}` : "share of the map's sum";
    element("map").value = state.map; // a browser may have kept another one over a reload
    element("token").value = state.token;
    element("layer").value = state.layer + 1;
    element("layer").setAttribute("aria-valuetext", `layer ${state.layer + 1} of ${data.layers}`);
    element("layer-text").textContent = `${state.layer + 1} of ${data.layers}`;
    element("head").value = state.head;
    const inLayer = state.map === ATTENTION;
    for (const id of ["layer", "head"]) element(id).disabled = !inLayer;
    element("token").disabled = !(inLayer && data.images[state.image].views);
  }

  function look(token, kept) {
    if (!data.images[state.image].views || state.map !== ATTENTION) token = READER;
    state.token = token;
    state.kept = kept && token !== READER;
  }

  // What the pointer or the focus is on looks, unless another token is kept.
  function point(patch) {
    state.pointed = patch;
    if (!state.kept) look(patch === null ? READER : data.tokens.length + patch, false);
    draw();
  }

  function keep(patch) {
    const token = data.tokens.length + patch;
    const again = state.kept && state.token === token;
    look(again ? READER : token, !again);
    draw();
  }

  function chooseImage(image) {
    state.image = image;
    look(READER, false);
    const { picture, index, label, predicted, confidence } = data.images[image];
    const names = document.querySelectorAll(".images label span");
    element("picture").src = picture;
    element("patches").style.backgroundImage = `url(${picture})`;
    element("verdict").textContent = `Test image ${index}: ${names[image].textContent} ` +
      `(${label === predicted ? "right" : "wrong"}, ${(100 * confidence).toFixed(0)} % sure)`;
    draw();
  }

  function step(layers) {
    if (state.map !== ATTENTION) return;
    state.layer = Math.min(data.layers - 1, Math.max(0, state.layer + layers));
    draw();
  }

  function move(patch, key) {
    const column = patch % data.columns;
    const to = {
      ArrowLeft: column > 0 ? patch - 1 : patch,
      ArrowRight: column < data.columns - 1 ? patch + 1 : patch,
      ArrowUp: patch - data.columns,
      ArrowDown: patch + data.columns,
      Home: patch - column,
      End: patch - column + data.columns - 1,
    }[key];
    if (to === undefined) return false;
    if (to >= 0 && to < patchCount) {
      cells[patch].tabIndex = -1;
      cells[to].tabIndex = 0;
      cells[to].focus();
    }
    return true;
  }

  function press(event, patch) {
    if (event.key === "PageUp") step(-1);
    else if (event.key === "PageDown") step(1);
    else if (event.key === "Escape") { look(READER, false); draw(); }
    else if (!move(patch, event.key)) return;
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
        cell.addEventListener("pointerenter", () => point(patch));
        cell.addEventListener("focus", () => point(patch));
        cell.addEventListener("blur", () => point(null));
        cell.addEventListener("click", () => keep(patch));
        cell.addEventListener("keydown", (event) => press(event, patch));
        line.append(cell);
        cells.push(cell);
      }
      grid.append(line);
    }
    grid.addEventListener("pointerleave", () => point(null));
  }

  function fillTokens() {
    const option = (token) => new Option(nameOf(token), token);
    element("token").append(option(READER));
    for (let token = 0; token < tokenCount; token++) {
      if (nameOf(token) !== data.reader) element("token").append(option(token));
    }
  }

  makeCells();
  fillTokens();
  document.querySelectorAll("input[name=image]").forEach((input) =>
    input.addEventListener("change", () => chooseImage(Number(input.value))));
  element("map").addEventListener("change", (event) => {
    state.map = Number(event.target.value);
    look(READER, false);
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
  element("token").addEventListener("change", (event) => {
    look(Number(event.target.value), true);
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
  chooseImage(Number(document.querySelector("input[name=image]:checked").value));
})();
