"use strict";
// The forward pass of the Vision Transformer, step by step as in vit_hk/model/reference.py, with the
// layers of nn.js. Letters in shapes are those of vit_hk/model/__init__.py.
const makeModel = (() => {
  const NO_CHANGE = { heads: new Set(), layers: new Set(), patches: new Set() };

  // Numbers of 16 bits: a sign, 5 bits of exponent, 10 of fraction, little-endian. Float16Array is
  // too new for many browsers.
  function decodeFloat16(base64) {
    const bytes = atob(base64);
    const numbers = new Float32Array(bytes.length / 2);
    for (let n = 0; n < numbers.length; n++) {
      const bits = bytes.charCodeAt(2 * n) | (bytes.charCodeAt(2 * n + 1) << 8);
      const exponent = (bits >> 10) & 31;
      const fraction = (bits & 1023) / 1024;
      const size = exponent ? 2 ** (exponent - 15) * (1 + fraction) : 2 ** -14 * fraction;
      numbers[n] = bits >> 15 ? -size : size;
    }
    return numbers;
  }

  function readParameters(tensors, weights) {
    const numbers = decodeFloat16(weights);
    const parameters = {};
    let start = 0;
    for (const { name, size } of tensors) {
      parameters[name] = numbers.subarray(start, start + size);
      start += size;
    }
    return parameters;
  }

  // Patches [N, P * P * channels] of an image [height, width, channels], row by row.
  function cutPatches({ pixels, height, width, channels }, size) {
    const columns = width / size;
    const length = size * size * channels;
    const result = new Float32Array(pixels.length);
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const patch = Math.floor(y / size) * columns + Math.floor(x / size);
        const place = ((y % size) * size + (x % size)) * channels;
        for (let channel = 0; channel < channels; channel++) {
          result[patch * length + place + channel] = pixels[(y * width + x) * channels + channel];
        }
      }
    }
    return result;
  }

  // The pixels under the 3 x 3 kernel at each position, with zeros outside of the image.
  function cutNeighbourhoods({ pixels, height, width, channels }, stride) {
    const result = new Float32Array((height / stride) * (width / stride) * 9 * channels);
    let to = 0;
    for (let top = -1; top < height - 1; top += stride) {
      for (let left = -1; left < width - 1; left += stride) {
        for (let n = 0; n < 9; n++) {
          const [y, x] = [top + Math.floor(n / 3), left + (n % 3)];
          const isInside = y >= 0 && y < height && x >= 0 && x < width;
          for (let channel = 0; channel < channels; channel++, to++) {
            if (isInside) result[to] = pixels[(y * width + x) * channels + channel];
          }
        }
      }
    }
    return result;
  }

  // The maxima of windows of 3 x 3 at stride 2; what lies outside of the image does not count.
  function maxPool({ pixels, height, width, channels }) {
    const [rows, columns] = [height / 2, width / 2];
    const result = new Float32Array(rows * columns * channels).fill(-Infinity);
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        const to = (row * columns + column) * channels;
        for (let y = Math.max(0, 2 * row - 1); y <= 2 * row + 1; y++) {
          for (let x = Math.max(0, 2 * column - 1); x <= 2 * column + 1; x++) {
            const from = (y * width + x) * channels;
            for (let channel = 0; channel < channels; channel++) {
              result[to + channel] = Math.max(result[to + channel], pixels[from + channel]);
            }
          }
        }
      }
    }
    return { pixels: result, height: rows, width: columns, channels };
  }

  // Sines and cosines of column and row, [N, D], as in vit_hk/model/positions.py.
  function sincosPositions(rows, columns, width) {
    const quarter = width / 4;
    const result = new Float32Array(rows * columns * width);
    for (let patch = 0; patch < rows * columns; patch++) {
      for (let n = 0; n < quarter; n++) {
        const frequency = 10000 ** (-n / quarter);
        const [row, column] = [Math.floor(patch / columns) * frequency, (patch % columns) * frequency];
        [Math.sin(column), Math.cos(column), Math.sin(row), Math.cos(row)].forEach((value, part) => {
          result[patch * width + part * quarter + n] = value;
        });
      }
    }
    return result;
  }

  function concatenate(...arrays) {
    const result = new Float32Array(arrays.reduce((sum, array) => sum + array.length, 0));
    let start = 0;
    for (const array of arrays) {
      result.set(array, start);
      start += array.length;
    }
    return result;
  }

  /**
   * Build a model from what `make_page_model` of vit_hk/report/page_model.py wrote.
   *
   * `forward(pixels, off)` takes Float32Array or Uint8Array [height * width * channels] from 0 to
   * 255, and optionally what is switched off: sets `heads` of layer * H + head, `layers`, `patches`.
   * It returns `logits` [C], `probabilities` [C], `attention` [L, H, query T, key T] and `features`
   * [L, D], for each layer those of a model that ended after it, and `residuals`, which gradient.js
   * reads. `classify` takes the features of a layer and returns logits [C].
   */
  return function makeModel({ settings, stem, image_shape: [height, width, channels], mean, std, tensors, weights }) {
    const { hidden_size: D, num_heads: H, num_layers: L, patch_size: P, registers } = settings;
    const parameters = readParameters(tensors, weights);
    const [rows, columns] = [height / P, width / P];
    const patchCount = rows * columns;
    const isClassToken = settings.pool === "cls";
    const firstPatch = registers + (isClassToken ? 1 : 0); // index of its token
    const T = firstPatch + patchCount;
    const headSize = D / H;
    const positions = settings.position === "learned"
      ? parameters["vit/position"] : sincosPositions(rows, columns, D);

    const applyLinear = (name, x) => nn.linear(x, parameters[`${name}/w`], parameters[`${name}/b`]);
    const applyNorm = (name, x) =>
      nn.layerNorm(x, parameters[`${name}/scale`], parameters[`${name}/offset`], settings.norm_eps);

    function normalize(pixels) {
      const normalized = Float32Array.from(pixels, (value, index) => {
        const channel = index % channels;
        return (value / 255 - mean[channel]) / std[channel];
      });
      return { pixels: normalized, height, width, channels };
    }

    // One convolution, and what follows it; see vit_hk/model/stem_layers.py.
    function convolve(image, layer, index) {
      const convolved = {
        pixels: applyLinear(`vit/patches/conv_${index}`, cutNeighbourhoods(image, layer.stride)),
        height: image.height / layer.stride,
        width: image.width / layer.stride,
        channels: layer.channels,
      };
      const pooled = layer.pool_stride > 1 ? maxPool(convolved) : convolved;
      const normed = layer.has_norm ? applyNorm(`vit/patches/norm_${index}`, pooled.pixels) : pooled.pixels;
      const activated = nn.gelu(normed, settings.gelu);
      return { ...pooled, pixels: layer.is_residual ? nn.add(image.pixels, activated) : activated };
    }

    // Equation 1 of the paper: patches, positions, class token, registers -> tokens [T, D].
    function embed(pixels) {
      const image = stem.reduce(convolve, normalize(pixels));
      let x = applyLinear("vit/patches/linear", cutPatches(image, image.height / rows));
      if (settings.position === "sincos2d") x = nn.add(x, positions);
      if (isClassToken) x = concatenate(parameters["vit/class_token"], x);
      if (settings.position === "learned") x = nn.add(x, positions);
      if (!registers) return x;
      const before = isClassToken ? D : 0;
      return concatenate(x.subarray(0, before), parameters["vit/registers"], x.subarray(before));
    }

    // Queries, keys or values (part 0, 1 or 2) of one head, [T, K], from qkv [T, 3D].
    function takePart(qkv, part, head, normName) {
      const result = new Float32Array(T * headSize);
      for (let token = 0; token < T; token++) {
        const from = token * 3 * D + part * D + head * headSize;
        result.set(qkv.subarray(from, from + headSize), token * headSize);
      }
      return normName && settings.qk_norm ? applyNorm(normName, result) : result;
    }

    // Write softmax(q k^T / sqrt(K)) into `weights` [T, T]; the key of a patch that is off has the
    // score minus infinity, so that no token attends to it.
    function attend(q, k, isKeyOff, weights) {
      const scale = 1 / Math.sqrt(headSize);
      for (let query = 0; query < T; query++) {
        const row = weights.subarray(query * T, (query + 1) * T);
        for (let key = 0; key < T; key++) {
          let sum = 0;
          for (let n = 0; n < headSize; n++) sum += q[query * headSize + n] * k[key * headSize + n];
          row[key] = isKeyOff[key] ? -Infinity : sum * scale;
        }
        nn.softmax(row);
      }
    }

    // The sum of the values, each times its weight, into the columns of a head in `result` [T, D].
    function addValues(weights, v, head, result) {
      for (let query = 0; query < T; query++) {
        const to = query * D + head * headSize;
        for (let key = 0; key < T; key++) {
          const weight = weights[query * T + key];
          for (let n = 0; n < headSize; n++) result[to + n] += weight * v[key * headSize + n];
        }
      }
    }

    // Self-attention of one layer, [T, D], from qkv [T, 3D]. The output of a head that is off stays zero.
    function selfAttention(name, qkv, layer, off, isKeyOff, attention) {
      const heads = new Float32Array(T * D);
      for (let head = 0; head < H; head++) {
        const index = layer * H + head;
        const weights = attention.subarray(index * T * T, (index + 1) * T * T);
        attend(takePart(qkv, 0, head, `${name}/q_norm`), takePart(qkv, 1, head, `${name}/k_norm`), isKeyOff, weights);
        if (!off.heads.has(index)) addValues(weights, takePart(qkv, 2, head), head, heads);
      }
      return applyLinear(`${name}/out`, heads);
    }

    // The features of the token that is classified, or the mean of the patches that are on.
    function pool(x, off) {
      if (isClassToken) return applyNorm("vit/norm", x.subarray(0, D));
      const normed = applyNorm("vit/norm", x);
      const result = new Float32Array(D);
      const count = patchCount - off.patches.size;
      for (let patch = 0; patch < patchCount; patch++) {
        if (off.patches.has(patch)) continue;
        for (let n = 0; n < D; n++) result[n] += normed[(firstPatch + patch) * D + n] / count;
      }
      return result;
    }

    const classify = (features) => applyLinear("vit/head", features);

    function forward(pixels, off = NO_CHANGE) {
      const attention = new Float32Array(L * H * T * T);
      const features = new Float32Array(L * D);
      const isKeyOff = Array.from({ length: T }, (_, token) => off.patches.has(token - firstPatch));
      const residuals = [];
      let x = embed(pixels);
      for (let layer = 0; layer < L; layer++) {
        const block = `vit/block_${layer}`;
        const qkv = applyLinear(`${block}/attention/qkv`, applyNorm(`${block}/norm_1`, x));
        const branch = selfAttention(`${block}/attention`, qkv, layer, off, isKeyOff, attention);
        const middle = off.layers.has(layer) ? x : nn.add(x, branch); // equation 2
        const hidden = applyLinear(`${block}/mlp/in`, applyNorm(`${block}/norm_2`, middle));
        const output = nn.add(middle, applyLinear(`${block}/mlp/out`, nn.gelu(hidden, settings.gelu))); // equation 3
        residuals.push({ input: x, qkv, middle, hidden, output });
        x = output;
        features.set(pool(x, off), layer * D); // equation 4, after the last layer
      }
      const logits = classify(features.subarray((L - 1) * D));
      const probabilities = logits.slice();
      nn.softmax(probabilities);
      return { logits, probabilities, attention, features, residuals };
    }

    return {
      forward, classify, takePart, parameters, settings,
      rows, columns, patchCount, firstPatch, tokenCount: T, layers: L, heads: H, width: D, isClassToken,
    };
  };
})();
