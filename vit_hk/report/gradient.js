"use strict";
// The backward pass of model.js, as far as the attention weights need it: the gradient of one class's
// logit. `dx` is the gradient of that logit with respect to x, and has the shape of x.
const attentionGradient = (() => {
  // Of x w + b with respect to x: dy w^T [rows, inputs], from dy [rows, outputs].
  function linearBackward(dy, w, outputs) {
    const inputs = w.length / outputs;
    const rows = dy.length / outputs;
    const dx = new Float32Array(rows * inputs);
    for (let row = 0; row < rows; row++) {
      for (let input = 0; input < inputs; input++) {
        let sum = 0;
        for (let n = 0; n < outputs; n++) sum += dy[row * outputs + n] * w[input * outputs + n];
        dx[row * inputs + input] = sum;
      }
    }
    return dx;
  }

  // With z the normalized row and g = dy * scale: (g - mean(g) - z mean(g z)) / standard deviation.
  function layerNormBackward(dy, x, scale, epsilon) {
    const width = scale.length;
    const dx = new Float32Array(x.length);
    for (let start = 0; start < x.length; start += width) {
      const { mean, inverse } = nn.moments(x, start, width, epsilon);
      let [meanG, meanGz] = [0, 0];
      for (let n = 0; n < width; n++) {
        const g = dy[start + n] * scale[n];
        meanG += g / width;
        meanGz += (g * (x[start + n] - mean) * inverse) / width;
      }
      for (let n = 0; n < width; n++) {
        const z = (x[start + n] - mean) * inverse;
        dx[start + n] = (dy[start + n] * scale[n] - meanG - z * meanGz) * inverse;
      }
    }
    return dx;
  }

  // GELU is x P(x); its slope is P(x) + x P'(x), with P the normal distribution function or its
  // approximation by a tanh.
  const DENSITY = {
    erf: (x) => Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI),
    tanh: (x, p) => 2 * p * (1 - p) * Math.sqrt(2 / Math.PI) * (1 + 3 * 0.044715 * x * x),
  };

  function geluBackward(dy, x, kind) {
    return dy.map((value, n) => {
      const p = nn.NORMAL[kind](x[n]);
      return value * (p + x[n] * DENSITY[kind](x[n], p));
    });
  }

  // Of softmax, row by row of [T, T]: A (dA - the sum of A dA over the row), times a factor.
  function softmaxBackward(dWeights, weights, size, factor) {
    const dScores = new Float32Array(weights.length);
    for (let start = 0; start < weights.length; start += size) {
      let sum = 0;
      for (let n = start; n < start + size; n++) sum += weights[n] * dWeights[n];
      for (let n = start; n < start + size; n++) dScores[n] = factor * weights[n] * (dWeights[n] - sum);
    }
    return dScores;
  }

  // a b of a [rows, inner] and b [inner, columns], and the same with a or b transposed.
  function multiply(a, b, inner) {
    return nn.linear(a, b, new Float32Array(b.length / inner));
  }

  function transpose(a, columns) {
    const rows = a.length / columns;
    return Float32Array.from(a, (_, n) => a[(n % rows) * columns + Math.floor(n / rows)]);
  }

  // Columns of one head of x [T, stride], [T, K], and their way back.
  function takeHead(x, start, stride, size) {
    return Float32Array.from({ length: (x.length / stride) * size }, (_, n) =>
      x[Math.floor(n / size) * stride + start + (n % size)]);
  }

  function putHead(part, x, start, stride, size) {
    part.forEach((value, n) => { x[Math.floor(n / size) * stride + start + (n % size)] = value; });
  }

  /**
   * Return the gradient of the logit of class `number` with respect to the attention weights, [L, H,
   * query T, key T], as `make_attention_gradient` of vit_hk/inference.py does.
   *
   * `attention`, `residuals` are those of a forward pass in which nothing is off. The gradient with
   * respect to a layer includes its influence on all later layers.
   */
  return function attentionGradient(model, { attention, residuals }, number) {
    const { parameters, settings: { gelu, norm_eps: epsilon, qk_norm: isNormed } } = model;
    const { tokenCount: T, layers: L, heads: H, width: D } = model;
    const K = D / H; // width of a head
    const gradient = new Float32Array(attention.length);

    const backThroughLinear = (name, dy) => linearBackward(dy, parameters[`${name}/w`], parameters[`${name}/b`].length);
    const backThroughNorm = (name, dy, x) => layerNormBackward(dy, x, parameters[`${name}/scale`], epsilon);

    // From the logit to the tokens after the last layer: head, pooling, LayerNorm.
    function backThroughHead() {
      const { firstPatch, patchCount, isClassToken } = model;
      const classes = parameters["vit/head/b"].length;
      const dNormed = new Float32Array(T * D);
      const [first, count] = isClassToken ? [0, 1] : [firstPatch, patchCount];
      for (let n = first * D; n < (first + count) * D; n++) {
        dNormed[n] = parameters["vit/head/w"][(n % D) * classes + number] / count;
      }
      return backThroughNorm("vit/norm", dNormed, residuals[L - 1].output);
    }

    function backThroughMlp(name, dOutput, { middle, hidden }) {
      const dHidden = geluBackward(backThroughLinear(`${name}/mlp/out`, dOutput), hidden, gelu);
      return nn.add(dOutput, backThroughNorm(`${name}/norm_2`, backThroughLinear(`${name}/mlp/in`, dHidden), middle));
    }

    // Write the gradient of the weights of one head, and that of its queries, keys and values to dQkv.
    function backThroughHeadOfLayer(name, index, dHeads, qkv, dQkv) {
      const head = index % H;
      const cells = [index * T * T, (index + 1) * T * T];
      const weights = attention.subarray(...cells);
      const dHead = takeHead(dHeads, head * K, D, K);
      const [q, k, v] = [0, 1, 2].map((part) => model.takePart(qkv, part, head, part < 2 && `${name}/${"qk"[part]}_norm`));
      const dWeights = linearBackward(dHead, v, K);
      gradient.set(dWeights, cells[0]);
      const dScores = softmaxBackward(dWeights, weights, T, 1 / Math.sqrt(K));
      const parts = [multiply(dScores, k, T), multiply(transpose(dScores, T), q, T), multiply(transpose(weights, T), dHead, T)];
      parts.forEach((part, n) => {
        const raw = isNormed && n < 2 ? model.takePart(qkv, n, head) : null;
        const dRaw = raw ? backThroughNorm(`${name}/${"qk"[n]}_norm`, part, raw) : part;
        putHead(dRaw, dQkv, n * D + head * K, 3 * D, K);
      });
    }

    function backThroughAttention(name, layer, dMiddle, { input, qkv }) {
      const dHeads = backThroughLinear(`${name}/attention/out`, dMiddle);
      const dQkv = new Float32Array(3 * T * D);
      for (let head = 0; head < H; head++) backThroughHeadOfLayer(`${name}/attention`, layer * H + head, dHeads, qkv, dQkv);
      return nn.add(dMiddle, backThroughNorm(`${name}/norm_1`, backThroughLinear(`${name}/attention/qkv`, dQkv), input));
    }

    let dx = backThroughHead();
    for (let layer = L - 1; layer >= 0; layer--) {
      const name = `vit/block_${layer}`;
      dx = backThroughMlp(name, dx, residuals[layer]);
      dx = backThroughAttention(name, layer, dx, residuals[layer]);
    }
    return gradient;
  };
})();
