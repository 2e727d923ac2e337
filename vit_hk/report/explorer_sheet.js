"use strict";
// The sheet of the explorer: a tile for each layer and head, and for the mean of a layer's heads.
const MAX_SHEET_TILES = 400; // with more layers and heads, tiles are too small to distinguish

/**
 * Make the sheet; `select(layer, head)` is called for a click, with head -1 for the mean.
 *
 * The result is a function that draws it: it takes the weights of a layer and head, the colour of a
 * weight, and the layer and head that are selected, or null.
 */
function makeSheet(grid, { layers, heads, rows, columns }, select) {
  if (layers * heads > MAX_SHEET_TILES) return null;
  const MEAN = -1;
  const text = (content) => Object.assign(document.createElement("span"), { textContent: content, ariaHidden: "true" });
  const places = Array.from({ length: layers * (heads + 1) }, (_, n) =>
    ({ layer: Math.floor(n / (heads + 1)), head: (n % (heads + 1)) - 1 }));
  const buttons = places.map(({ layer, head }, n) => {
    const button = Object.assign(document.createElement("button"), { type: "button" });
    button.setAttribute("aria-label", `layer ${layer + 1}, ${head === MEAN ? "mean of its heads" : `head ${head + 1}`}`);
    const canvas = Object.assign(document.createElement("canvas"), { width: columns, height: rows });
    button.append(canvas);
    button.addEventListener("click", () => select(layer, head));
    button.addEventListener("keydown", (event) => {
      if (moveInGrid(buttons, heads + 1, n, event)) event.preventDefault();
    });
    return button;
  });
  keepOneTabStop(buttons);
  grid.style.gridTemplateColumns = `max-content repeat(${heads + 1}, minmax(1.5rem, 4rem))`;
  grid.append(text(""), text("mean"), ...Array.from({ length: heads }, (_, head) => text(head + 1)));
  for (let layer = 0; layer < layers; layer++) {
    grid.append(text(layer + 1), ...buttons.slice(layer * (heads + 1), (layer + 1) * (heads + 1)));
  }
  return (weightsOf, colorOf, selected) => buttons.forEach((button, n) => {
    const { layer, head } = places[n];
    drawTile(button.firstChild, { columns }, weightsOf(layer, head), colorOf);
    button.setAttribute("aria-pressed", String(selected?.layer === layer && selected.head === head));
  });
}
