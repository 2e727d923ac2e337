"use strict";
/** Return the pixels of an image of the explorer's data, Uint8Array [height * width * channels]. */
function decodePixels(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

/** Return shares from 0 to 1 that were stored as 16-bit integers, little-endian, in base64. */
function decodeShares(text) {
  const bytes = new DataView(decodePixels(text).buffer);
  return Float64Array.from({ length: bytes.byteLength / 2 }, (_, n) => bytes.getUint16(2 * n, true) / 65535);
}

/** Return pixels as ImageData: three channels are red, green and blue, of others the mean is grey. */
function toImageData(pixels, [height, width, channels]) {
  const image = new ImageData(width, height);
  for (let n = 0; n < height * width; n++) {
    const values = pixels.subarray(n * channels, (n + 1) * channels);
    const mean = Math.floor(values.reduce((a, b) => a + b, 0) / channels);
    image.data.set(channels === 3 ? [...values, 255] : [mean, mean, mean, 255], 4 * n);
  }
  return image;
}

/** Give an element the proportions of an image, and its longer side at most a size in rem. */
function fitImage(element, [height, width], size) {
  element.style.aspectRatio = `${width} / ${height}`;
  element.style.maxWidth = `${size * Math.min(1, width / height)}rem`;
}

/** Draw pixels on a canvas of their size. */
function drawPixels(canvas, pixels, shape) {
  [canvas.height, canvas.width] = shape;
  // Small canvases, also read by code: kept in main memory.
  canvas.getContext("2d", { willReadFrequently: true }).putImageData(toImageData(pixels, shape), 0, 0);
}
