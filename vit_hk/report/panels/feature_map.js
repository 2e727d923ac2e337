"use strict";
// The panel "Features": the explorer's images by the principal components of their features.
function showFeatureMap(data, network) {
  const element = (id) => document.getElementById(`features-${id}`);
  const map = element("map");
  if (!map) return; // left out
  const SLICE = 50; // ms of computation, or one image, between two pauses in which the page can react
  const MARGIN = 0.04; // of the map, around the images
  const MAX_NAMED_CLASSES = 20; // with more, neighbouring colours cannot be told apart
  const { model } = network;
  const { images, class_names: classNames } = data;
  const features = []; // [images], each [L, D]
  const layouts = []; // by layer, once it was shown

  const wholePercent = (share) => `${(100 * share).toFixed(0)} %`;
  // Neighbouring hues differ in lightness too, which all people see, and stand out from the page.
  const color = (label) => `oklch(${label % 2 ? 0.5 : 0.68} 0.17 ${Math.round((360 * label) / classNames.length)})`;
  const isWrong = ({ label, predicted }) => label !== predicted;
  const describe = (image) => `Test image ${image.index}: true ${classNames[image.label]}` +
    (isWrong(image) ? `, predicted ${classNames[image.predicted]}` : "") + `, probability ${wholePercent(image.confidence)}`;

  function makeButton(image) {
    const button = Object.assign(document.createElement("button"), { type: "button" });
    const canvas = document.createElement("canvas");
    drawPixels(canvas, decodePixels(image.pixels), data.image_shape);
    button.append(canvas);
    button.setAttribute("aria-label", describe(image));
    button.style.borderColor = color(image.label);
    button.classList.toggle("wrong", isWrong(image));
    const show = () => { element("image").textContent = describe(image); };
    button.addEventListener("pointerenter", show);
    button.addEventListener("focus", show);
    actOnSecondTap(button, () =>
      button.dispatchEvent(new CustomEvent("open-image", { bubbles: true, detail: { index: image.index } })));
    return button;
  }

  const buttons = images.map(makeButton);
  keepOneTabStop(buttons);

  // Features of one layer of all images, [images, D].
  function layerFeatures(layer) {
    const result = new Float32Array(images.length * model.width);
    features.forEach((all, n) => result.set(all.subarray(layer * model.width, (layer + 1) * model.width), n * model.width));
    return result;
  }

  function makeLayout(layer) {
    const points = layerFeatures(layer);
    const { coordinates, shares } = principalComponents(points, model.width, 2);
    const correct = images.filter(({ label }, n) =>
      indexOfLargest(model.classify(points.subarray(n * model.width, (n + 1) * model.width))) === label);
    return { coordinates, shares, accuracy: correct.length / images.length };
  }

  function layoutOf(layer) {
    layouts[layer] ??= makeLayout(layer);
    return layouts[layer];
  }

  // Coordinates to shares of the map, with the same scale on both axes, so that distances are true.
  function placesOf(coordinates) {
    const ranges = [0, 1].map((axis) => {
      const values = coordinates.filter((_, n) => n % 2 === axis);
      return [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))];
    });
    const { clientWidth, clientHeight } = map;
    const room = 1 - 2 * MARGIN;
    const [spanX, spanY] = ranges.map(([low, high]) => Math.max(high - low, 1e-9));
    const scale = room * Math.min(clientWidth / spanX, clientHeight / spanY); // pixels of a unit
    return images.map((_, n) => ranges.map(([low, high], axis) => {
      const offset = (coordinates[2 * n + axis] - (low + high) / 2) * scale;
      return 0.5 + (axis ? -offset / clientHeight : offset / clientWidth); // up is positive
    }));
  }

  function draw() {
    const layer = Number(element("layer").value) - 1;
    const { coordinates, shares, accuracy } = layoutOf(layer);
    placesOf(coordinates).forEach(([x, y], n) => {
      buttons[n].style.left = `${100 * x}%`;
      buttons[n].style.top = `${100 * y}%`;
    });
    const text = `${layer + 1} of ${model.layers}`;
    element("layer-text").textContent = text;
    element("layer").setAttribute("aria-valuetext", `after layer ${text}, ${wholePercent(accuracy)} correct`);
    element("summary").textContent =
      `After layer ${layer + 1}: the map holds ${wholePercent(shares[0] + shares[1])} of the variance. If the model ended here, ` +
      `${wholePercent(accuracy)} of these ${images.length} images, among them all mistakes that the page has, would be classified correctly.`;
  }

  // The nearest image in the direction of an arrow key; beside that direction, distances count twice. Images at
  // the same place follow each other in their order.
  function neighbour(from, key) {
    const [axis, sign] = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [1, -1], ArrowDown: [1, 1] }[key];
    const centers = buttons.map((button) => [button.offsetLeft, button.offsetTop]);
    let [best, least] = [from, Infinity];
    centers.forEach((center, n) => {
      const along = sign * (center[axis] - centers[from][axis]);
      const across = Math.abs(center[1 - axis] - centers[from][1 - axis]);
      const isAhead = along || across ? along > 0 : sign * (n - from) > 0;
      const isNearer = along + 2 * across < least || (!along && !across && sign < 0); // the last one before it
      if (isAhead && isNearer) [best, least] = [n, along + 2 * across];
    });
    return best;
  }

  function handleKey(event) {
    const from = buttons.indexOf(document.activeElement);
    if (from < 0 || hasModifier(event) || !event.key.startsWith("Arrow")) return;
    event.preventDefault();
    buttons[neighbour(from, event.key)].focus();
  }

  function fillClasses() {
    if (classNames.length > MAX_NAMED_CLASSES) return;
    element("classes").append(...classNames.map((name, label) => {
      const item = Object.assign(document.createElement("li"), { textContent: name });
      item.style.borderColor = color(label);
      return item;
    }));
  }

  const isDone = () => features.length === images.length;

  // Compute the features of at least one more image, until that is enough.
  function compute(isEnough) {
    do features.push(model.forward(decodePixels(images[features.length].pixels)).features);
    while (!isDone() && !isEnough());
    element("summary").textContent = `Computing features: ${features.length} of ${images.length} images.`;
    if (isDone()) finish();
  }

  // A slice at a time, so that the page reacts meanwhile.
  function computeSlices() {
    if (isDone()) return;
    const end = performance.now() + SLICE;
    compute(() => performance.now() >= end);
    setTimeout(computeSlices);
  }

  function finish() {
    map.setAttribute("aria-busy", "false");
    map.append(...buttons);
    fillClasses();
    element("layer").addEventListener("input", draw);
    map.addEventListener("keydown", handleKey);
    new ResizeObserver(draw).observe(map);
    draw();
  }

  element("app").hidden = false;
  map.setAttribute("aria-busy", "true");
  addEventListener("beforeprint", () => { if (!isDone()) compute(() => false); });
  new IntersectionObserver((entries, observer) => {
    if (!entries.some(({ isIntersecting }) => isIntersecting)) return;
    observer.disconnect();
    computeSlices();
  }, { rootMargin: "50%" }).observe(map);
}
