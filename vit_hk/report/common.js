"use strict";
// What several scripts of the pages need: names, the mean over heads, the largest value.

/** Return the place of a patch in the image, in words. */
const patchPlace = (patch, columns) => `row ${Math.floor(patch / columns) + 1}, column ${(patch % columns) + 1}`;

/** Return a class name as an element that keeps its spaces and its direction of writing. */
const nameElement = (name) => Object.assign(document.createElement("bdi"), { textContent: name });

/** Return the mean over heads of weights [N], which `headWeights` returns for a head. */
function meanOverHeads(heads, headWeights) {
  const mean = Float64Array.from(headWeights(0), (weight) => weight / heads);
  for (let head = 1; head < heads; head++) {
    headWeights(head).forEach((weight, patch) => { mean[patch] += weight / heads; });
  }
  return mean;
}

/** Return the index of the largest value; of equal ones, that of the first. */
const indexOfLargest = (values) => values.indexOf(values.reduce((a, b) => Math.max(a, b)));
