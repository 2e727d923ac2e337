"use strict";
// The map of the explorer: opaque tiles in the colours of the bar, the outline of the image over them.
const MAP_SIZE = 672; // pixels of the longer side of the canvas; the page shows it at half of that

/**
 * Return the function from a weight to its colour, on a scale from 0 to `max`.
 *
 * The place in the palette is the square root of the weight's share, as in the PNG files: small weights
 * stay apart where one patch gets nearly all.
 */
function colorScale(palette, max) {
  return (weight) => palette[Math.round(Math.sqrt(max > 0 ? Math.min(1, weight / max) : 0) * (palette.length - 1))];
}

/** Draw the weights of patches on a canvas of one pixel each. */
function drawTile(canvas, { columns }, weights, colorOf) {
  const context = canvas.getContext("2d", { willReadFrequently: true });
  weights.forEach((weight, patch) => {
    context.fillStyle = colorOf(weight);
    context.fillRect(patch % columns, Math.floor(patch / columns), 1, 1);
  });
}

/** Draw the weights of patches as tiles on a canvas, and the outline of their image over them. */
function drawMap(canvas, { rows, columns, image_shape: [height, width] }, weights, colorOf, outline) {
  const scale = MAP_SIZE / Math.max(width, height);
  [canvas.width, canvas.height] = [Math.round(width * scale), Math.round(height * scale)];
  const context = canvas.getContext("2d");
  // Edges on whole pixels, so that no line appears between tiles.
  const edge = (n, count, size) => Math.round((n * size) / count);
  weights.forEach((weight, patch) => {
    const [row, column] = [Math.floor(patch / columns), patch % columns];
    const [left, top] = [edge(column, columns, canvas.width), edge(row, rows, canvas.height)];
    context.fillStyle = colorOf(weight);
    context.fillRect(left, top, edge(column + 1, columns, canvas.width) - left, edge(row + 1, rows, canvas.height) - top);
  });
  if (!outline) return;
  context.scale(scale, scale);
  Object.assign(context, { lineCap: "round", lineJoin: "round" });
  for (const [color, pixels] of [["#000", 7], ["#fff", 3]]) { // white with a black rim, seen on each colour
    Object.assign(context, { strokeStyle: color, lineWidth: pixels / scale });
    context.stroke(outline);
  }
}

/**
 * Make the grid of buttons over the map, one for each patch.
 *
 * `point(patch)` is called when the pointer or the focus moves, with null when it leaves; `pin(patch)`
 * when a patch is clicked, or tapped while it has the focus. The result is a function that labels the
 * buttons: it takes the weights and the patch that is the query, or -1.
 */
function makePatchGrid(grid, { rows, columns, image_shape: shape }, patchName, { point, pin }) {
  const cells = Array.from({ length: rows * columns }, (_, patch) => {
    const cell = Object.assign(document.createElement("button"), { type: "button" });
    cell.setAttribute("role", "gridcell");
    cell.addEventListener("pointerenter", () => point(patch));
    cell.addEventListener("focus", () => point(patch));
    cell.addEventListener("blur", () => point(null));
    actOnSecondTap(cell, () => pin(patch));
    cell.addEventListener("keydown", (event) => {
      if (moveInGrid(cells, columns, patch, event)) event.preventDefault();
    });
    return cell;
  });
  keepOneTabStop(cells);
  for (let row = 0; row < rows; row++) {
    const line = document.createElement("div");
    line.setAttribute("role", "row");
    line.append(...cells.slice(row * columns, (row + 1) * columns));
    grid.append(line);
  }
  fitImage(grid.parentElement, shape, 21);
  grid.addEventListener("pointerleave", () => point(null));
  return (weights, queryPatch, isPinned) => cells.forEach((cell, patch) => {
    cell.setAttribute("aria-label", `${patchName(patch)}: ${percent(weights[patch])}`);
    cell.classList.toggle("query", patch === queryPatch);
    cell.setAttribute("aria-selected", String(isPinned && patch === queryPatch));
  });
}
