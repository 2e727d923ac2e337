"use strict";
// Where the explorer's numbers come from: stored in the page, or computed by its model.
const makeAttentionSource = (() => {
  const NOTHING_OFF = { heads: new Set(), layers: new Set(), patches: new Set() };

  // 16-bit integers, little-endian, in base64 -> shares from 0 to 1.
  function decodeShares(text) {
    const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    return Float64Array.from({ length: bytes.length / 2 }, (_, n) => view.getUint16(2 * n, true) / 65535);
  }

  function normalize(weights) {
    const sum = weights.reduce((a, b) => a + b, 0);
    return weights.map((weight) => (sum > 0 ? weight / sum : 0));
  }

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
      computed ??= compute(network, decodePixels(image.pixels));
      return computed.ofToken(layer, head, token);
    };
    return {
      pooled: (layer, head) => rowAt(pooled, layer * data.heads + head),
      ofToken: tokens || network ? ofToken : null,
      hasMap: (key) => indexOf(key) >= 0,
      map: (key) => rowAt(maps, indexOf(key)),
    };
  }

  function compute({ model, settings }, pixels) {
    const { attention } = model.forward(pixels);
    const { tokenCount, firstPatch, patchCount, heads, layers } = model;
    const pooled = (layer, head) => explain.headAttention(model, attention, layer, head, NOTHING_OFF.patches);
    const methods = {
      rollout: () => explain.rollout(model, attention, settings, NOTHING_OFF),
      last_layer: () => {
        const all = Array.from({ length: heads }, (_, head) => pooled(layers - 1, head));
        return normalize(all[0].map((_, patch) => all.reduce((sum, weights) => sum + weights[patch], 0)));
      },
    };
    const maps = {}; // those that were asked for: a rollout of many tokens takes a while
    return {
      pooled,
      ofToken: (layer, head, token) => {
        const start = ((layer * heads + head) * tokenCount + token) * tokenCount + firstPatch;
        return attention.subarray(start, start + patchCount);
      },
      hasMap: (key) => Object.hasOwn(methods, key),
      map: (key) => (maps[key] ??= methods[key]()),
    };
  }

  /**
   * Return a function from an image of the explorer's data to its attention: `pooled(layer, head)`
   * and `ofToken(layer, head, token)`, each the weights [N] of all patches, and `map(key)`, a map
   * over all layers [N], of which `hasMap(key)` says whether it is known. `ofToken` is null where it
   * is not known.
   *
   * `network` is `{ model, settings }`, or null where the page has no model: then all images have
   * stored attention.
   */
  return function makeAttentionSource(data, network) {
    let last = null; // moving through the layers of an image asks for the same attention
    return (image) => {
      if (last?.image !== image) {
        const attention = image.pooled_attention
          ? readStored(data, image, network) : compute(network, decodePixels(image.pixels));
        last = { image, attention };
      }
      return last.attention;
    };
  };
})();
