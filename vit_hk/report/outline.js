"use strict";
// The outline of what an image shows: lines of equal brightness, half-way between dark and bright.
const traceOutline = (() => {
  // As in vit_hk/figures/outline.py: more lines than that would cover a map, so photos are blurred.
  const MAX_LENGTH = 7; // of all lines together, in longer sides of the image
  const BLURS = [0, 1 / 40, 1 / 26, 1 / 17, 1 / 11]; // standard deviations, as shares of the longer side

  // Which sides of a square of four pixels a line crosses: 0 top, 1 right, 2 bottom, 3 left. The
  // index has a bit for each corner that is bright: 1 top left, 2 top right, 4 bottom right, 8 bottom left.
  const CROSSINGS = [
    [], [[3, 0]], [[0, 1]], [[3, 1]], [[1, 2]], [[3, 0], [1, 2]], [[0, 2]], [[3, 2]],
    [[2, 3]], [[2, 0]], [[0, 1], [2, 3]], [[2, 1]], [[1, 3]], [[1, 0]], [[0, 3]], [],
  ];

  function brightness(pixels, [height, width, channels]) {
    return Float32Array.from({ length: height * width }, (_, n) => {
      const values = pixels.subarray(n * channels, (n + 1) * channels);
      if (channels === 3) return 0.299 * values[0] + 0.587 * values[1] + 0.114 * values[2];
      return values.reduce((a, b) => a + b, 0) / channels; // as the picture of such an image is drawn
    });
  }

  // Of each value of each row of `width` values, the mean with its neighbours up to `radius` away.
  function meanInRows(values, width, radius) {
    const result = new Float32Array(values.length);
    for (let row = 0; row < values.length; row += width) {
      const at = (x) => values[row + Math.min(width - 1, Math.max(0, x))]; // the border continues
      let sum = 0;
      for (let x = -radius; x <= radius; x++) sum += at(x);
      for (let x = 0; x < width; x++) {
        result[row + x] = sum / (2 * radius + 1);
        sum += at(x + radius + 1) - at(x - radius);
      }
    }
    return result;
  }

  function transpose(values, width) {
    const height = values.length / width;
    return values.map((_, n) => values[(n % height) * width + Math.floor(n / height)]);
  }

  // Two means one after the other are nearly a Gaussian blur.
  function blur(values, width, deviation) {
    const radius = Math.max(1, Math.round((Math.sqrt(6 * deviation ** 2 + 1) - 1) / 2));
    let [result, length] = [values, width];
    for (let pass = 0; pass < 4; pass++) { // along rows and along columns, twice
      result = transpose(meanInRows(result, length, radius), length);
      length = values.length / length;
    }
    return result;
  }

  // Lines `[from, to]` between points `[x, y]` in pixels, by marching squares. Pixels outside of the
  // image continue its border, so no line follows the border itself.
  function findLines(values, [height, width]) {
    const level = (values.reduce((a, b) => Math.min(a, b)) + values.reduce((a, b) => Math.max(a, b))) / 2;
    const at = (x, y) => values[Math.min(height - 1, Math.max(0, y)) * width + Math.min(width - 1, Math.max(0, x))];
    const between = (from, to) => (level - from) / (to - from);
    const lines = [];
    for (let y = -1; y < height; y++) {
      for (let x = -1; x < width; x++) {
        const [a, b, c, d] = [at(x, y), at(x + 1, y), at(x + 1, y + 1), at(x, y + 1)];
        const points = [
          () => [x + between(a, b), y], () => [x + 1, y + between(b, c)],
          () => [x + between(d, c), y + 1], () => [x, y + between(a, d)],
        ];
        const index = (a > level) + 2 * (b > level) + 4 * (c > level) + 8 * (d > level);
        for (const sides of CROSSINGS[index]) {
          // The value of a pixel is that of its centre.
          lines.push(sides.map((side) => points[side]().map((place) => place + 0.5)));
        }
      }
    }
    return lines;
  }

  const lengthOf = (lines) =>
    lines.reduce((sum, [[x1, y1], [x2, y2]]) => sum + Math.hypot(x2 - x1, y2 - y1), 0);

  /** Return the outline as a Path2D in pixels of the image; of an image with much texture, of its larger shapes. */
  return function traceOutline(pixels, shape) {
    const side = Math.max(shape[0], shape[1]);
    const values = brightness(pixels, shape);
    let lines = [];
    for (const share of BLURS) {
      lines = findLines(share ? blur(values, shape[1], share * side) : values, shape);
      if (lengthOf(lines) <= MAX_LENGTH * side) break;
    }
    const path = new Path2D();
    for (const [from, to] of lines) {
      path.moveTo(...from);
      path.lineTo(...to);
    }
    return path;
  };
})();
