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
    brightness = _border_pixels(images).mean(axis=1)
    looks = ~_is_usual(brightness, usual) & _is_usual(1 - brightness, usual)
    return _has_ink_on_paper(images, looks)


def looks_usual(images: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """Return which images show ink on an even border that is as bright as those of the training.

    Args and result are those of `looks_inverted`; no image of several channels looks so.
    """
    if images.shape[-1] != 1:
        return np.zeros(len(images), bool)
    looks = _is_usual(_border_pixels(images).mean(axis=1), usual)
    return _has_ink_on_paper(images, looks)


def _is_usual(brightness: np.ndarray, usual: np.ndarray) -> np.ndarray:
    low, high = usual[0] - TOLERANCE, usual[1] + TOLERANCE
    return (low <= brightness) & (brightness <= high)


def _has_ink_on_paper(images: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Return which of the chosen images have an even border, and a pixel that differs from it."""
    result = chosen.copy()
    if chosen.any():
        images = images[chosen]
        border = _border_pixels(images)
        brightness = border.mean(axis=1, keepdims=True)
        is_even = (np.abs(border - brightness) <= NEARLY).mean(axis=1) >= EVEN_SHARE
        pixels = images.reshape(len(images), -1) / 255
        result[chosen] = is_even & (np.abs(pixels - brightness) >= MIN_INK).any(axis=1)
    return result


def _border_pixels(images: np.ndarray) -> np.ndarray:
    """Return the outermost pixels of images, float32 [images, values], from 0 to 1."""
    is_border = np.ones(images.shape[1:3], bool)
    is_border[1:-1, 1:-1] = False
    return images[:, is_border].reshape(len(images), -1).astype(np.float32) / 255
