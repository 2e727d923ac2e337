"use strict";
// Where the explorer's numbers come from: stored in the page, or computed by its model.
const makeAttentionSource = (() => {
  function readStored(data, image, network) {
    const patchCount = data.rows * data.columns;
    const tokenCount = data.prefix_tokens.length + patchCount;
    const rowAt = (array, index) => array.subarray(index * patchCount, (index + 1) * patchCount);
    const pooled = decodeShares(image.pooled_attention);
    const tokens = image.token_attention && decodeShares(image.token_attention);
    const maps = decodeShares(image.maps);
    const indexOf = (key) => data.maps.findIndex((map) => map.key === key);
    let computed = null; // where the attention of single tokens was left out
    const ofToken = (layer, head, token) => {
      if (tokens) return rowAt(tokens, (layer * data.heads + head) * tokenCount + token);
      computed ??= compute(network, image);
      return computed.ofToken(layer, head, token);
    };
    return {
      pooled: (layer, head) => rowAt(pooled, layer * data.heads + head),
      ofToken: tokens || network ? ofToken : null,
      map: (key) => rowAt(maps, indexOf(key)),
    };
  }

  // The maps over all layers, by key; those that depend on the class are for the predicted and, with
  // "-true", for the true class.
  function listMaps({ model, pageModel }, result, { predicted, label }) {
    const { attention } = result;
    const methods = {
      last_layer: () => explain.lastLayer(model, attention),
      rollout: () => explain.rollout(model, attention, pageModel),
    };
    for (const [suffix, number] of [["", predicted], ["-true", label]]) {
      const gradient = once(() => attentionGradient(model, result, number));
      methods[`gradient_rollout${suffix}`] = () => explain.gradientRollout(model, attention, gradient());
      methods[`relevance${suffix}`] = () => explain.relevance(model, attention, gradient());
    }
    // Computed when they are asked for: with many tokens, each takes a while.
    return Object.fromEntries(Object.entries(methods).map(([key, method]) => [key, once(method)]));
  }

  function once(compute) {
    let value;
    return () => (value ??= compute());
  }

  function compute(network, image) {
    const { model } = network;
    const result = model.forward(decodePixels(image.pixels));
    const { tokenCount, firstPatch, patchCount, heads } = model;
    const maps = listMaps(network, result, image);
    return {
      pooled: (layer, head) => explain.headAttention(model, result.attention, layer, head),
      ofToken: (layer, head, token) => {
        const start = ((layer * heads + head) * tokenCount + token) * tokenCount + firstPatch;
        return result.attention.subarray(start, start + patchCount);
      },
      map: (key) => maps[key](),
    };
  }

  /**
   * Return a function from an image of the explorer's data to its attention: `pooled(layer, head)`
   * and `ofToken(layer, head, token)`, each the weights [N] of all patches, and `map(key)`, a map
   * over all layers [N]. `ofToken` is null where it is not known.
   *
   * `network` is `{ model, pageModel }`, or null where the page has no model: then all images have
   * stored attention.
   */
  return function makeAttentionSource(data, network) {
    let last = null; // moving through the layers of an image asks for the same attention
    return (image) => {
      if (last?.image !== image) {
        const attention = image.pooled_attention
          ? readStored(data, image, network) : compute(network, image);
        last = { image, attention };
      }
      return last.attention;
    };
  };
})();
