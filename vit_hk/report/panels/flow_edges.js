"use strict";
/**
 * Split the rollout of one image into the edges between the tokens of neighbouring layers.
 *
 * `matrices` are those of `explain.layerMatrices`, each [query T, key T] with rows that sum to 1.
 * Returns `reach` [L + 1, T], how much of the rollout goes through each token before the first and
 * after each layer, and `edges`, `{ layer, from, to, share }`, for each pair of tokens through which
 * some of it goes. The shares of a layer sum to 1, and so does `reach` of each row.
 */
function findFlow(model, matrices) {
  const { tokenCount } = model;
  const layers = matrices.length;
  const reach = Array.from({ length: layers }, () => new Float64Array(tokenCount));
  reach.push(explain.pooledQuery(model, new Set()));
  const edges = [];
  for (let layer = layers - 1; layer >= 0; layer--) {
    reach[layer + 1].forEach((through, to) => {
      for (let from = 0; from < tokenCount; from++) {
        const share = through * matrices[layer][to * tokenCount + from];
        if (share <= 0) continue;
        reach[layer][from] += share;
        edges.push({ layer, from, to, share });
      }
    });
  }
  return { reach, edges };
}
