"use strict";
/**
 * Split the rollout of one image into the edges between the tokens of neighbouring layers.
 *
 * `matrices` are those of `explain.layerMatrices`, each [query T, key T] with rows that sum to 1.
 * Returns `reach` [L + 1, T], how much of the rollout goes through each token before the first and
 * after each layer, and edges `{ layer, from, to, share }` through which some of it goes: `kept` has all
 * from a token to itself, `strongest` [L] the `count` strongest others of each layer, the strongest first.
 * The shares of all edges of a layer sum to 1, and so does `reach` of each row.
 */
const findFlow = (() => {
  // Of equal edges, the first one stays first.
  function insert(edges, edge, count) {
    let place = edges.length;
    while (place > 0 && edges[place - 1].share < edge.share) place--;
    edges.splice(place, 0, edge);
    edges.length = Math.min(edges.length, count);
  }

  return function findFlow(model, matrices, count) {
    const { tokenCount } = model;
    const layers = matrices.length;
    const reach = Array.from({ length: layers }, () => new Float64Array(tokenCount));
    reach.push(explain.pooledQuery(model, new Set()));
    const kept = [];
    const strongest = Array.from({ length: layers }, () => []);
    for (let layer = layers - 1; layer >= 0; layer--) {
      const best = strongest[layer];
      reach[layer + 1].forEach((through, to) => {
        for (let from = 0; from < tokenCount; from++) {
          const share = through * matrices[layer][to * tokenCount + from];
          if (share <= 0) continue;
          reach[layer][from] += share;
          // Of many tokens, most pairs are never shown: no objects are made of them.
          if (from === to) kept.push({ layer, from, to, share });
          else if (best.length < count || share > best.at(-1).share) insert(best, { layer, from, to, share }, count);
        }
      });
    }
    return { reach, kept, strongest };
  };
})();
