"use strict";
// Principal component analysis, exact and the same in each browser up to rounding.
const principalComponents = (() => {
  const MAX_SWEEPS = 30; // of Jacobi's method; ten are enough for hundreds of dimensions
  const SMALL = 1e-24; // of the squared matrix: what lies beside its diagonal is rounding

  // The covariance [D, D] of points [count, D] whose mean is 0, times their number.
  function covariance(points, width) {
    const result = new Float64Array(width * width);
    for (let start = 0; start < points.length; start += width) {
      for (let row = 0; row < width; row++) {
        for (let column = 0; column < width; column++) {
          result[row * width + column] += points[start + row] * points[start + column];
        }
      }
    }
    return result;
  }

  const sumOfSquares = (values) => values.reduce((sum, value) => sum + value * value, 0);

  // Turn the axes p and q of a symmetric matrix so that its element (p, q) becomes 0, and turn the
  // columns of `vectors` with them.
  function rotate(matrix, vectors, width, p, q) {
    const pq = matrix[p * width + q];
    if (pq === 0) return;
    const theta = (matrix[q * width + q] - matrix[p * width + p]) / (2 * pq);
    const t = (theta < 0 ? -1 : 1) / (Math.abs(theta) + Math.sqrt(theta * theta + 1));
    const c = 1 / Math.sqrt(t * t + 1);
    const s = t * c;
    const turn = (array, first, second) => {
      const [a, b] = [array[first], array[second]];
      array[first] = c * a - s * b;
      array[second] = s * a + c * b;
    };
    for (let n = 0; n < width; n++) turn(matrix, n * width + p, n * width + q);
    for (let n = 0; n < width; n++) turn(matrix, p * width + n, q * width + n);
    for (let n = 0; n < width; n++) turn(vectors, n * width + p, n * width + q);
  }

  // Jacobi's method: the eigenvalues stay on the diagonal of `matrix`, the eigenvectors are returned
  // as the columns of a matrix.
  function diagonalize(matrix, width) {
    const vectors = Float64Array.from(matrix, (_, n) => (n % (width + 1) === 0 ? 1 : 0));
    const whole = sumOfSquares(matrix);
    for (let sweep = 0; sweep < MAX_SWEEPS; sweep++) {
      const beside = sumOfSquares(matrix.filter((_, n) => n % (width + 1) !== 0));
      if (beside <= SMALL * whole) break;
      for (let p = 0; p < width - 1; p++) {
        for (let q = p + 1; q < width; q++) rotate(matrix, vectors, width, p, q);
      }
    }
    return vectors;
  }

  function center(points, width) {
    const count = points.length / width;
    const mean = new Float64Array(width);
    points.forEach((value, n) => { mean[n % width] += value / count; });
    return Float64Array.from(points, (value, n) => value - mean[n % width]);
  }

  // An eigenvector has no sign of its own: its element of the largest size is made positive.
  function directionOf(vectors, width, column) {
    const direction = Float64Array.from({ length: width }, (_, n) => vectors[n * width + column]);
    const largest = direction.reduce((best, value) => (Math.abs(value) > Math.abs(best) ? value : best), 0);
    return largest < 0 ? direction.map((value) => -value) : direction;
  }

  /**
   * Project points [count, D] on the `dimensions` directions of their largest variance.
   *
   * Returns `coordinates` [count, dimensions], the mean of each being 0, and `shares`, the share of
   * the variance that each direction holds.
   */
  return function principalComponents(points, width, dimensions) {
    const centered = center(points, width);
    const matrix = covariance(centered, width);
    const vectors = diagonalize(matrix, width);
    const variances = Array.from({ length: width }, (_, n) => Math.max(0, matrix[n * width + n]));
    const total = variances.reduce((a, b) => a + b, 0);
    const order = [...variances.keys()].sort((a, b) => variances[b] - variances[a]).slice(0, dimensions);
    const directions = order.map((column) => directionOf(vectors, width, column));
    const coordinates = Float64Array.from({ length: (centered.length / width) * dimensions }, (_, n) => {
      const [start, direction] = [Math.floor(n / dimensions) * width, directions[n % dimensions]];
      return direction.reduce((sum, value, index) => sum + value * centered[start + index], 0);
    });
    return { coordinates, shares: order.map((column) => (total > 0 ? variances[column] / total : 0)) };
  };
})();
