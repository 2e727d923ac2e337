"use strict";
// From a canvas or an image file to the pixels that the model sees.
const imageInput = (() => {
  const MIN_INK = 32; // difference from the background, of 255, from which a pixel counts as drawn
  const MNIST_BOX = 20 / 28; // share of an image's shorter side that its digit takes
  const MAX_SIDE = 4096; // pixels of an image file before it is resized further

  // Of each of `count` pixels, of `step` source pixels each, the source pixels and their shares.
  function findShares(start, step, count, size) {
    return Array.from({ length: count }, (_, index) => {
      const [low, high] = [start + index * step, start + (index + 1) * step];
      const shares = [];
      for (let n = Math.max(0, Math.floor(low)); n < Math.min(size, Math.ceil(high)); n++) {
        shares.push([n, (Math.min(high, n + 1) - Math.max(low, n)) / step]);
      }
      return shares;
    });
  }

  // The mean of `plane` below each pixel of a grid of [height, width] pixels, which begins at
  // (left, top) and whose pixels are `step` wide; outside of the plane is `background`.
  function averageBelow(plane, { left, top, step, width, height, background }) {
    const columns = findShares(left, step, width, plane.width);
    const rows = findShares(top, step, height, plane.height);
    const result = new Float32Array(width * height);
    rows.forEach((row, y) => columns.forEach((column, x) => {
      let [sum, area] = [0, 0];
      for (const [sourceY, high] of row) {
        for (const [sourceX, wide] of column) {
          sum += high * wide * plane.values[sourceY * plane.width + sourceX];
          area += high * wide;
        }
      }
      result[y * width + x] = sum + (1 - area) * background;
    }));
    return result;
  }

  // One channel of a canvas, or where the model has one channel only, its brightness.
  function takePlane({ data, width, height }, channel, channels) {
    const values = new Float32Array(width * height);
    for (let n = 0; n < values.length; n++) {
      values[n] = channels === 1
        ? 0.299 * data[4 * n] + 0.587 * data[4 * n + 1] + 0.114 * data[4 * n + 2] : data[4 * n + channel];
    }
    return { values, width, height };
  }

  // The pixels at the four sides of an image.
  function borderOf({ values, width, height }) {
    return values.filter((_, n) =>
      n < width || n >= width * (height - 1) || n % width === 0 || n % width === width - 1);
  }

  // The background of a plane: the median of its border, since paper in a photo has no fixed level.
  function findBackground(plane) {
    const sorted = borderOf(plane).sort();
    return sorted[Math.floor(sorted.length / 2)];
  }

  // The box around all that differs from the background, and its centre of mass; null if empty.
  function measureInk({ values, width }, background) {
    const box = { left: Infinity, right: -Infinity, top: Infinity, bottom: -Infinity };
    let [mass, sumX, sumY] = [0, 0, 0];
    values.forEach((value, n) => {
      const ink = Math.abs(value - background);
      if (ink < MIN_INK) return;
      const [x, y] = [n % width, Math.floor(n / width)];
      box.left = Math.min(box.left, x);
      box.right = Math.max(box.right, x + 1);
      box.top = Math.min(box.top, y);
      box.bottom = Math.max(box.bottom, y + 1);
      mass += ink;
      sumX += ink * (x + 0.5);
      sumY += ink * (y + 0.5);
    });
    if (!mass) return null;
    const size = Math.max(box.right - box.left, box.bottom - box.top);
    return { size, centreX: sumX / mass, centreY: sumY / mass };
  }

  // As the images of MNIST were made: a box of 20 x 20 of 28 x 28 pixels, its centre of mass
  // in the centre of the image. Null if empty.
  function centredGrid(plane, height, width) {
    const background = findBackground(plane);
    const ink = measureInk(plane, background);
    if (!ink) return null;
    const step = ink.size / Math.round(MNIST_BOX * Math.min(height, width));
    const [left, top] = [ink.centreX - (width / 2) * step, ink.centreY - (height / 2) * step];
    return { left, top, step, width, height, background };
  }

  /** Return Float32Array [height * width * channels] of a canvas whose sides are multiples of those. */
  function readPixels(imageData, [height, width, channels], isCentred) {
    const whole = { left: 0, top: 0, step: imageData.width / width, width, height, background: 0 }; // seen nowhere
    const planes = Array.from({ length: channels }, (_, channel) => takePlane(imageData, channel, channels));
    const grid = (isCentred && centredGrid(planes[0], height, width)) || whole;
    const means = planes.map((plane) => averageBelow(plane, grid));
    return Float32Array.from({ length: height * width * channels }, (_, n) =>
      Math.round(means[n % channels][Math.floor(n / channels)]));
  }

  // Where an image of width x height goes on a canvas: as `_resize` of vit_hk/data/image_preparation.py.
  function place(image, canvas, resize) {
    if (resize === "stretch") return [0, 0, canvas.width, canvas.height];
    const ratios = [canvas.width / image.width, canvas.height / image.height];
    const ratio = resize === "pad" ? Math.min(...ratios) : Math.max(...ratios);
    const [width, height] = [image.width * ratio, image.height * ratio];
    return [(canvas.width - width) / 2, (canvas.height - height) / 2, width, height];
  }

  const grey = (level) => `rgb(${level} ${level} ${level})`;

  /** Return a base for a drawing: an image file, resized as the images of the data set were. */
  function fileBase(name, image, { resize, padding, image_shape: [height, width] }) {
    const hasShape = image.height === height && image.width === width; // such an image keeps its pixels
    return {
      kind: "file", name, isInverted: false,
      paint(context) {
        const { canvas } = context;
        context.fillStyle = grey(this.isInverted ? 255 - padding : padding);
        context.fillRect(0, 0, canvas.width, canvas.height);
        Object.assign(context, { imageSmoothingEnabled: !hasShape, imageSmoothingQuality: "high" });
        context.drawImage(image, ...place(image, canvas, resize));
        if (!this.isInverted) return;
        context.globalCompositeOperation = "difference";
        context.fillStyle = "white";
        context.fillRect(0, 0, canvas.width, canvas.height);
        context.globalCompositeOperation = "source-over";
      },
    };
  }

  /** Read an image file; rejects where the browser cannot. */
  async function readFile(file) {
    const image = await createImageBitmap(file, { colorSpaceConversion: "none" });
    const ratio = MAX_SIDE / Math.max(image.width, image.height);
    if (ratio >= 1) return image;
    const size = { resizeWidth: Math.ceil(image.width * ratio), resizeHeight: Math.ceil(image.height * ratio) };
    return createImageBitmap(image, { ...size, resizeQuality: "high" });
  }

  // As in vit_hk/data/inversion.py, where they are explained.
  const [TOLERANCE, EVEN_SHARE, NEARLY, MIN_CONTRAST] = [0.2, 0.9, 0.1, 0.4];

  /**
   * Return whether pixels of one channel look like an inverted training image or like one as it is, and
   * the brightness of their border: `looks_inverted` and `looks_usual` of vit_hk/data/inversion.py.
   * `usual` is their range, or null.
   */
  function examineBorder(pixels, [height, width, channels], usual) {
    if (channels !== 1 || !usual) return { looksInverted: false, looksUsual: false };
    const values = Array.from(pixels, (value) => value / 255);
    const border = borderOf({ values, width, height });
    const brightness = border.reduce((a, b) => a + b, 0) / border.length;
    const isUsual = (value) => usual[0] - TOLERANCE <= value && value <= usual[1] + TOLERANCE;
    const distance = (value) => Math.abs(value - brightness);
    const isEven = border.filter((value) => distance(value) <= NEARLY).length >= EVEN_SHARE * border.length;
    const hasInk = values.some((value) => distance(value) >= MIN_CONTRAST);
    const isDrawing = isEven && hasInk;
    return {
      looksInverted: isDrawing && !isUsual(brightness) && isUsual(1 - brightness),
      looksUsual: isDrawing && isUsual(brightness),
      brightness,
    };
  }

  return { readPixels, readFile, fileBase, examineBorder, grey };
})();
