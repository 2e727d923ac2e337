"""The brightness of the border of images, which tells dark on light from light on dark."""

import numpy as np

PERCENTILES = (1, 99)  # of the training images; the rest are exceptions
# Scans and screens are not quite white or black: a border that is so much brighter or darker than
# those of the training images still resembles them.
TOLERANCE = 0.2
# The largest standard deviation of the pixels of an even border. Paper has less, photos have more.
MAX_SPREAD = 0.1


def border_range(images: np.ndarray) -> np.ndarray:
    """Return the usual brightness of the border of images: its 1st and its 99th percentile.

    Args:
      images: uint8 [images, height, width, channels].

    Returns:
      Float32 [2], from 0 (black) to 1 (white).
    """
    brightness = _border_pixels(images).mean(axis=1)
    return np.percentile(brightness, PERCENTILES).astype(np.float32)


def looks_inverted(images: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """Return which images look like inverted training images, such as digits on white paper.

    Such an image is grey, its border is even, the brightness of the border is not usual, and that
    of the inverted image is. Where training images have borders of all kinds, as photos do, no
    image looks inverted; nor do photos among digits, whose border is not even, nor colour images.

    Args:
      images: uint8 [images, height, width, channels].
      usual: float [2], the range that `border_range` returns for the training images.

    Returns:
      Bool [images].
    """
    if images.shape[-1] != 1:
        return np.zeros(len(images), bool)
    pixels = _border_pixels(images)
    brightness, is_even = pixels.mean(axis=1), pixels.std(axis=1) <= MAX_SPREAD
    low, high = usual[0] - TOLERANCE, usual[1] + TOLERANCE
    is_usual = (low <= brightness) & (brightness <= high)
    is_usual_inverted = (low <= 1 - brightness) & (1 - brightness <= high)
    return is_even & ~is_usual & is_usual_inverted


def _border_pixels(images: np.ndarray) -> np.ndarray:
    """Return the outermost pixels of images, float32 [images, pixels], from 0 to 1."""
    is_border = np.ones(images.shape[1:3], bool)
    is_border[1:-1, 1:-1] = False
    pixels = images[:, is_border]  # [images, pixels, channels]
    return pixels.reshape(len(images), -1).astype(np.float32) / 255
