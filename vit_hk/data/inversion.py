"""The brightness of the border of images, which tells dark on light from light on dark."""

import numpy as np

from vit_hk.data.image_rows import ImageArray, chunks

PERCENTILES = (1, 99)  # of the training images; the rest are exceptions
# Scans and screens are not quite white or black: a border that is so much brighter or darker than
# those of the training images still resembles them.
TOLERANCE = 0.2
# Paper has nearly one brightness on this share of the border, which strokes may touch ...
EVEN_SHARE, NEARLY = 0.9, 0.1
MIN_INK = 0.4  # ... and ink differs from it by so much: a bare wall or sky is no drawing


def border_range(images: ImageArray) -> np.ndarray:
    """Return the usual brightness of the border of images: its 1st and its 99th percentile.

    Args:
      images: uint8 [images, height, width, channels].

    Returns:
      Float32 [2], from 0 (black) to 1 (white).
    """
    brightness = np.concatenate([_border_pixels(x).mean(axis=1) for x in chunks(images)])
    return np.percentile(brightness, PERCENTILES).astype(np.float32)


def looks_inverted(images: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """Return which images look like inverted training images, such as digits on white paper.

    Such an image has one channel and an even border, whose brightness is not usual, would be usual
    if it were inverted, and differs much from another pixel of the image. Where training images
    have borders of all kinds, as photos do, no image looks inverted. Among digits, photos do not
    either, unless they show something dark on white.

    Args:
      images: uint8 [images, height, width, channels].
      usual: float [2], the range that `border_range` returns for the training images.

    Returns:
      Bool [images].
    """
    if images.shape[-1] != 1:
        return np.zeros(len(images), bool)
    border = _border_pixels(images)
    brightness = border.mean(axis=1, keepdims=True)  # [images, 1]
    low, high = usual[0] - TOLERANCE, usual[1] + TOLERANCE
    is_usual = (low <= brightness) & (brightness <= high)
    is_usual_inverted = (low <= 1 - brightness) & (1 - brightness <= high)
    looks = (~is_usual & is_usual_inverted)[:, 0]
    if looks.any():  # the rest takes longer
        is_near = np.abs(border[looks] - brightness[looks]) <= NEARLY
        pixels = images[looks].reshape(looks.sum(), -1) / 255
        has_ink = (np.abs(pixels - brightness[looks]) >= MIN_INK).any(axis=1)
        looks[looks] = has_ink & (is_near.mean(axis=1) >= EVEN_SHARE)
    return looks


def _border_pixels(images: np.ndarray) -> np.ndarray:
    """Return the outermost pixels of images, float32 [images, values], from 0 to 1."""
    is_border = np.ones(images.shape[1:3], bool)
    is_border[1:-1, 1:-1] = False
    return images[:, is_border].reshape(len(images), -1).astype(np.float32) / 255
