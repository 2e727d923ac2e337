"use strict";
/** Return the pixels of an image of the explorer's data, Uint8Array [height * width * channels]. */
function decodePixels(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
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

/** Draw pixels on a canvas of their size. */
function drawPixels(canvas, pixels, shape) {
  [canvas.height, canvas.width] = shape;
  // Small canvases, also read by code: kept in main memory.
  canvas.getContext("2d", { willReadFrequently: true }).putImageData(toImageData(pixels, shape), 0, 0);
}
