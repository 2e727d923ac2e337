"use strict";
// Attention of the pooled token, and the maps over all layers, as in patch_attention.py, rollout.py and
// relevance.py of vit_hk/explain. A map [N] has a sum of 1, or is zero.
const explain = (() => {
  const NONE = new Set();
  const NOTHING_OFF = { heads: NONE, layers: NONE, patches: NONE };
  const FUSE = {
    mean: (values) => values.reduce((a, b) => a + b, 0) / values.length,
    max: (values) => Math.max(...values),
    min: (values) => Math.min(...values),
  };

  // The product of a row [T] and a matrix [T, T].
  function multiplyRow(row, matrix) {
    const result = new Float64Array(row.length);
    row.forEach((weight, inner) => {
      if (!weight) return;
      for (let column = 0; column < row.length; column++) result[column] += weight * matrix[inner * row.length + column];
    });
    return result;
  }

  // From matrices [query T, key T], each of which multiplies those before it from the left, the row of
  // the class token in their product, or the mean of the rows of the patches, to the patches: [N].
  // The row starts at the last matrix: products of matrices would take T times as long.
  function pooledRow(model, matrices, patchesOff) {
    return matrices.reduceRight(multiplyRow, pooledQuery(model, patchesOff)).subarray(model.firstPatch);
  }

  /** Return the share of each token in what is classified, [T]: the class token, or the patches that are on. */
  function pooledQuery({ tokenCount, patchCount, firstPatch, isClassToken }, patchesOff) {
    const on = [...Array(patchCount).keys()].filter((patch) => !patchesOff.has(patch));
    const queries = isClassToken ? [0] : on.map((patch) => firstPatch + patch);
    const result = new Float64Array(tokenCount);
    for (const query of queries) result[query] = 1 / queries.length;
    return result;
  }

  // Numbers of the heads of a layer that are on, over all layers; none where the layer is off.
  function headsThatAreOn(model, layer, off) {
    if (off.layers.has(layer)) return [];
    const heads = Array.from({ length: model.heads }, (_, head) => layer * model.heads + head);
    return heads.filter((index) => !off.heads.has(index));
  }

  function fuseHeads(model, attention, heads, fusion) {
    const size = model.tokenCount ** 2;
    return Float32Array.from({ length: size }, (_, cell) =>
      FUSE[fusion](heads.map((index) => attention[index * size + cell])));
  }

  // Set a share of the smallest weights to 0; those of the class token as key are kept.
  function discardSmallest(model, fused, ratio) {
    if (!ratio) return;
    const isCandidate = (cell) => !(model.isClassToken && cell % model.tokenCount === 0);
    const cells = [...fused.keys()].filter(isCandidate).sort((a, b) => fused[a] - fused[b]);
    for (const cell of cells.slice(0, Math.floor(ratio * cells.length))) fused[cell] = 0;
  }

  // 0.5 A + 0.5 I with rows that sum to 1.
  function addResidual(model, fused) {
    const T = model.tokenCount;
    for (let row = 0; row < T; row++) {
      const weights = fused.subarray(row * T, (row + 1) * T);
      weights.forEach((weight, column) => { weights[column] = 0.5 * weight + (row === column ? 0.5 : 0); });
      const sum = weights.reduce((a, b) => a + b, 0);
      weights.forEach((weight, column) => { weights[column] = weight / sum; });
    }
  }

  /** Return the attention of the pooled token to the patches, [N], in one head. */
  function headAttention(model, attention, layer, head, patchesOff = NONE) {
    const size = model.tokenCount ** 2;
    const index = layer * model.heads + head;
    return pooledRow(model, [attention.subarray(index * size, (index + 1) * size)], patchesOff);
  }

  function identity(size) {
    return Float32Array.from({ length: size * size }, (_, cell) => (cell % (size + 1) === 0 ? 1 : 0));
  }

  /**
   * Return the matrix of each layer, [query T, key T], of which the rollout is the product.
   *
   * Heads that are off are left out; a layer without heads passes its tokens on as they are.
   */
  function layerMatrices(model, attention, { head_fusion: fusion, discard_ratio: ratio }, off = NOTHING_OFF) {
    return Array.from({ length: model.layers }, (_, layer) => {
      const heads = headsThatAreOn(model, layer, off);
      if (!heads.length) return identity(model.tokenCount);
      const fused = fuseHeads(model, attention, heads, fusion);
      discardSmallest(model, fused, ratio);
      addResidual(model, fused);
      return fused;
    });
  }

  function normalize(weights) {
    const sum = weights.reduce((a, b) => a + b, 0);
    return weights.map((weight) => (sum > 0 ? weight / sum : 0));
  }

  /** Return the rollout from the pooled token to the patches. */
  function rollout(model, attention, settings, off = NOTHING_OFF) {
    return normalize(pooledRow(model, layerMatrices(model, attention, settings, off), off.patches));
  }

  /** Return the attention of the pooled token in the last layer, the mean over its heads. */
  function lastLayer(model, attention) {
    const first = (model.layers - 1) * model.heads;
    const heads = Array.from({ length: model.heads }, (_, head) => first + head);
    return normalize(pooledRow(model, [fuseHeads(model, attention, heads, "mean")], NONE));
  }

  // For each layer the mean over its heads of max(0, gradient * attention), [query T, key T].
  function weightByGradient(model, attention, gradient) {
    const positive = attention.map((weight, n) => Math.max(0, weight * gradient[n]));
    return Array.from({ length: model.layers }, (_, layer) => {
      const heads = Array.from({ length: model.heads }, (_, head) => layer * model.heads + head);
      return fuseHeads(model, positive, heads, "mean");
    });
  }

  /** Return the relevance of the patches for the class whose logit `gradient` is of. */
  function relevance(model, attention, gradient) {
    const itself = pooledQuery(model, NONE); // is no part of the sum, as in relevance.py
    const row = weightByGradient(model, attention, gradient).reduceRight((sum, matrix) => {
      const added = multiplyRow(sum.map((weight, token) => weight + itself[token]), matrix);
      return sum.map((weight, token) => weight + added[token]);
    }, new Float64Array(model.tokenCount));
    return normalize(row.subarray(model.firstPatch));
  }

  /** Return the rollout of the attention, weighted by the gradient of the logit of a class. */
  function gradientRollout(model, attention, gradient) {
    const layers = weightByGradient(model, attention, gradient);
    for (const matrix of layers) addResidual(model, matrix);
    return normalize(pooledRow(model, layers, NONE));
  }

  return { pooledQuery, headAttention, layerMatrices, rollout, lastLayer, relevance, gradientRollout };
})();
