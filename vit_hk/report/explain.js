"use strict";
// Attention of the pooled token, and the maps over all layers, as in patch_attention.py, rollout.py and
// relevance.py of vit_hk/explain. A map [N] has a sum of 1, or is zero.
const explain = (() => {
  const NONE = new Set(); // patches that are off
  const FUSE = {
    mean: (values) => values.reduce((a, b) => a + b, 0) / values.length,
    max: (values) => Math.max(...values),
    min: (values) => Math.min(...values),
  };

  // From a matrix [query T, key T], the row of the class token, or the mean of the rows of the
  // patches, to the patches: [N]. Patches that are off are no part of the mean.
  function pooledRow(model, matrix, patchesOff) {
    const { tokenCount, patchCount, firstPatch } = model;
    const isQuery = (patch) => !patchesOff.has(patch);
    const queries = model.isClassToken
      ? [0] : [...Array(patchCount).keys()].filter(isQuery).map((patch) => firstPatch + patch);
    const result = new Float32Array(patchCount);
    for (const query of queries) {
      for (let patch = 0; patch < patchCount; patch++) {
        result[patch] += matrix[query * tokenCount + firstPatch + patch] / queries.length;
      }
    }
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

  function multiply(a, b, size) {
    const result = new Float32Array(size * size);
    for (let row = 0; row < size; row++) {
      for (let inner = 0; inner < size; inner++) {
        const factor = a[row * size + inner];
        for (let column = 0; column < size; column++) result[row * size + column] += factor * b[inner * size + column];
      }
    }
    return result;
  }

  /** Return the attention of the pooled token to the patches, [N], in one head. */
  function headAttention(model, attention, layer, head, patchesOff) {
    const size = model.tokenCount ** 2;
    const index = layer * model.heads + head;
    return pooledRow(model, attention.subarray(index * size, (index + 1) * size), patchesOff);
  }

  function identity(size) {
    return Float32Array.from({ length: size * size }, (_, cell) => (cell % (size + 1) === 0 ? 1 : 0));
  }

  /**
   * Return the matrix of each layer, [query T, key T], of which the rollout is the product.
   *
   * Heads that are off are left out; a layer without heads passes its tokens on as they are.
   */
  function layerMatrices(model, attention, { head_fusion: fusion, discard_ratio: ratio }, off) {
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

  // The product of the matrices of all layers, each of which multiplies those before it from the left.
  function chain(matrices, size) {
    return matrices.reduce((before, matrix) => multiply(matrix, before, size), identity(size));
  }

  /** Return the rollout from the pooled token to the patches. */
  function rollout(model, attention, settings, off) {
    const product = chain(layerMatrices(model, attention, settings, off), model.tokenCount);
    return normalize(pooledRow(model, product, off.patches));
  }

  /** Return the attention of the pooled token in the last layer, the mean over its heads. */
  function lastLayer(model, attention) {
    const first = (model.layers - 1) * model.heads;
    const heads = Array.from({ length: model.heads }, (_, head) => first + head);
    return normalize(pooledRow(model, fuseHeads(model, attention, heads, "mean"), NONE));
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
    const size = model.tokenCount;
    const layers = weightByGradient(model, attention, gradient).map((matrix) => nn.add(matrix, identity(size)));
    const product = chain(layers, size);
    for (let token = 0; token < size; token++) product[token * (size + 1)] -= 1; // as in relevance.py
    return normalize(pooledRow(model, product, NONE));
  }

  /** Return the rollout of the attention, weighted by the gradient of the logit of a class. */
  function gradientRollout(model, attention, gradient) {
    const layers = weightByGradient(model, attention, gradient);
    for (const matrix of layers) addResidual(model, matrix);
    return normalize(pooledRow(model, chain(layers, model.tokenCount), NONE));
  }

  return { headAttention, layerMatrices, rollout, lastLayer, relevance, gradientRollout };
})();
