"use strict";
// What the section "Try the model" shows: probabilities, attention, rollout, ranking of heads.
function makeTryViews({ class_names: classNames, palette, query_name: queryName }, model, shape) {
  const MAX_CLASSES = 50; // rows of the table; with more classes, those of the highest probability
  const element = (id) => document.getElementById(id);

  function describeChange(change) {
    const points = (100 * change).toFixed(1);
    if (Number(points) === 0) return "0.0";
    return change > 0 ? `+${points}` : points.replace("-", "−");
  }

  function setSize(canvas, columns, rows) {
    canvas.width = columns;
    canvas.height = rows;
    canvas.style.aspectRatio = `${columns} / ${rows}`;
  }

  const maxOf = (weights) => weights.reduce((a, b) => Math.max(a, b), 0);

  for (const stack of document.querySelectorAll(".try-stack")) fitImage(stack, shape, 14);

  function makeRow() {
    const row = element("try-probabilities").tBodies[0].insertRow();
    const name = Object.assign(document.createElement("th"), { scope: "row" });
    const bar = Object.assign(document.createElement("td"), { className: "try-bar" });
    bar.append(document.createElement("span"), document.createElement("i"));
    row.append(name, bar, document.createElement("td"), document.createElement("td"));
    row.cells[3].className = "try-change";
    return row;
  }
  const rows = Array.from({ length: Math.min(MAX_CLASSES, classNames.length) }, makeRow);
  element("try-count").textContent = rows.length < classNames.length
    ? `The ${rows.length} most probable of ${classNames.length} classes` : `All ${rows.length} classes`;

  const isLong = (name) => name.length > 8;
  element("try-probabilities").classList.toggle("has-long-names", classNames.some(isLong));

  // The classes in their order, or where they are too many for that, in the order of probability.
  function chooseClasses(probabilities) {
    const classes = [...classNames.keys()];
    if (rows.length === classes.length) return classes;
    return classes.sort((a, b) => probabilities[b] - probabilities[a]).slice(0, rows.length);
  }

  return {
    /** Draw the pixels that the model sees, [height * width * channels]. */
    drawSeen(pixels) {
      drawPixels(element("try-seen"), pixels, shape);
    },

    /** Show probabilities, beside those with everything on. */
    drawProbabilities(probabilities, before) {
      const best = indexOfLargest(probabilities);
      chooseClasses(probabilities).forEach((number, n) => {
        const row = rows[n];
        const [name, bar, share, change] = row.cells;
        if (row.dataset.number !== String(number)) name.replaceChildren(nameElement(classNames[number]));
        row.dataset.number = number;
        row.classList.toggle("is-predicted", number === best);
        bar.children[0].style.width = `${100 * probabilities[number]}%`;
        bar.children[1].style.width = `${100 * before[number]}%`;
        // One decimal in all rows: they stand in a column.
        share.textContent = `${(100 * probabilities[number]).toFixed(1)} %`;
        change.textContent = describeChange(probabilities[number] - before[number]);
      });
    },

    /** Draw the attention of all heads, each weights [N], on one colour scale. */
    drawHeads(canvases, weightsOfHeads) {
      const max = Math.max(...weightsOfHeads.map(maxOf));
      canvases.forEach((canvas, index) => drawTile(canvas, model, weightsOfHeads[index], colorScale(palette, max)));
      element("try-max").textContent = percent(max);
    },

    /** Draw the rollout, weights [N], with the outline of the pixels that the model sees over it. */
    drawRollout(weights, pixels) {
      const max = maxOf(weights);
      const { rows, columns } = model;
      drawMap(element("try-rollout"), { rows, columns, image_shape: shape }, weights,
        colorScale(palette, max), traceOutline(pixels, shape));
      element("try-rollout-text").textContent = max
        ? `The share of each patch in what can reach ${queryName} through all layers; the largest: ` +
          `${percent(max)}, ${patchPlace(weights.indexOf(max), columns)}.`
        : `Nothing of the patches can reach ${queryName}.`;
    },

    makeTile() {
      const canvas = document.createElement("canvas");
      setSize(canvas, model.columns, model.rows);
      return canvas;
    },

    /** Fill the ranking with entries `{ name, moved, best, probability }`. */
    fillRanking(entries) {
      const lines = entries.map(({ name, moved, best, probability }) => {
        const line = document.createElement("tr");
        line.append(Object.assign(document.createElement("th"), { scope: "row", textContent: name }));
        line.insertCell().textContent = percent(moved);
        line.insertCell().append(nameElement(classNames[best]), `, ${percent(probability)}`);
        return line;
      });
      element("try-ranking").tBodies[0].replaceChildren(...lines);
    },
  };
}
