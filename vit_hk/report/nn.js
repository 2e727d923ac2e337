"use strict";
// Layers of the model without its structure, for model.js and gradient.js. A matrix [rows, columns]
// is a Float32Array, row after row.
const nn = (() => {
  // Four inputs at a time, so that a sum is loaded and stored a quarter as often.
  /** Return x w + b [rows, outputs]: x is [rows, inputs], w is [inputs, outputs]. */
  function linear(x, w, b) {
    const outputs = b.length;
    const inputs = w.length / outputs;
    const rows = x.length / inputs;
    const result = new Float32Array(rows * outputs);
    for (let row = 0; row < rows; row++) {
      const from = row * inputs;
      const to = row * outputs;
      for (let n = 0; n < outputs; n++) result[to + n] = b[n];
      let input = 0;
      for (; input + 4 <= inputs; input += 4) {
        const [x0, x1, x2, x3] = [x[from + input], x[from + input + 1], x[from + input + 2], x[from + input + 3]];
        const w0 = input * outputs;
        const [w1, w2, w3] = [w0 + outputs, w0 + 2 * outputs, w0 + 3 * outputs];
        for (let n = 0; n < outputs; n++) {
          result[to + n] += x0 * w[w0 + n] + x1 * w[w1 + n] + x2 * w[w2 + n] + x3 * w[w3 + n];
        }
      }
      for (; input < inputs; input++) {
        for (let n = 0; n < outputs; n++) result[to + n] += x[from + input] * w[input * outputs + n];
      }
    }
    return result;
  }

  /** Return the mean of a row that begins at `start`, and 1 / its standard deviation. */
  function moments(x, start, width, epsilon) {
    let mean = 0;
    for (let n = start; n < start + width; n++) mean += x[n];
    mean /= width;
    let variance = 0;
    for (let n = start; n < start + width; n++) variance += (x[n] - mean) * (x[n] - mean);
    return { mean, inverse: 1 / Math.sqrt(variance / width + epsilon) };
  }

  /** Return each row of x [rows, width], normalized (arXiv 1607.06450). */
  function layerNorm(x, scale, offset, epsilon) {
    const width = scale.length;
    const result = new Float32Array(x.length);
    for (let start = 0; start < x.length; start += width) {
      const { mean, inverse } = moments(x, start, width, epsilon);
      for (let n = 0; n < width; n++) result[start + n] = (x[start + n] - mean) * inverse * scale[n] + offset[n];
    }
    return result;
  }

  // The error function to 1.5e-7: Abramowitz and Stegun, formula 7.1.26.
  function erf(x) {
    const t = 1 / (1 + 0.3275911 * Math.abs(x));
    const polynomial = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
    const size = 1 - polynomial * Math.exp(-x * x);
    return x < 0 ? -size : size;
  }

  /** The normal distribution function of x, by the names of the setting `gelu`. */
  const NORMAL = {
    erf: (x) => 0.5 * (1 + erf(x * Math.SQRT1_2)),
    tanh: (x) => 0.5 * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x * x * x))),
  };

  /** Return GELU of each number, x times the normal distribution function of x (arXiv 1606.08415). */
  function gelu(x, kind) {
    const normal = NORMAL[kind];
    const result = new Float32Array(x.length);
    for (let n = 0; n < x.length; n++) result[n] = x[n] * normal(x[n]);
    return result;
  }

  /** Replace numbers by their softmax. */
  function softmax(values) {
    let max = -Infinity;
    for (let n = 0; n < values.length; n++) max = Math.max(max, values[n]);
    let sum = 0;
    for (let n = 0; n < values.length; n++) {
      values[n] = Math.exp(values[n] - max);
      sum += values[n];
    }
    for (let n = 0; n < values.length; n++) values[n] /= sum;
  }

  /** Return x + y, number by number. */
  function add(x, y) {
    const result = new Float32Array(x.length);
    for (let n = 0; n < x.length; n++) result[n] = x[n] + y[n];
    return result;
  }

  return { linear, moments, layerNorm, NORMAL, gelu, softmax, add };
})();
