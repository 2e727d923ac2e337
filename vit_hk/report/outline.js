"use strict";
// The outline of what an image shows: lines of equal brightness, half-way between dark and bright.
const traceOutline = (() => {
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

  /**
   * Return the outline as a Path2D in pixels of the image, by marching squares.
   *
   * Pixels outside of the image continue its border, so no line follows the border itself.
   */
  return function traceOutline(pixels, shape) {
    const [height, width] = shape;
    const values = brightness(pixels, shape);
    const level = (values.reduce((a, b) => Math.min(a, b)) + values.reduce((a, b) => Math.max(a, b))) / 2;
    const at = (x, y) => values[Math.min(height - 1, Math.max(0, y)) * width + Math.min(width - 1, Math.max(0, x))];
    const path = new Path2D();
    for (let y = -1; y < height; y++) {
      for (let x = -1; x < width; x++) {
        const [a, b, c, d] = [at(x, y), at(x + 1, y), at(x + 1, y + 1), at(x, y + 1)];
        const between = (from, to) => (level - from) / (to - from);
        const points = [
          () => [x + between(a, b), y], () => [x + 1, y + between(b, c)],
          () => [x + between(d, c), y + 1], () => [x, y + between(a, d)],
        ];
        const index = (a > level) + 2 * (b > level) + 4 * (c > level) + 8 * (d > level);
        for (const [from, to] of CROSSINGS[index]) {
          // The value of a pixel is that of its centre.
          path.moveTo(...points[from]().map((place) => place + 0.5));
          path.lineTo(...points[to]().map((place) => place + 0.5));
        }
      }
    }
    return path;
  };
})();
