"""The outline of an image: lines along its edges, which stay visible on a map of opaque colours."""

import functools

import numpy as np
from contourpy import LineType, contour_generator
from scipy.ndimage import gaussian_gradient_magnitude, gaussian_laplace

from vit_hk.figures.images import to_rgb

LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)
BLURS = (1 / 40, 1 / 26, 1 / 17, 1 / 11)  # standard deviations, as shares of the longer side
MIN_BLUR = 0.7  # pixels; less would follow the corners of pixels
MIN_SLOPE = 0.1  # of an edge, as a share of the steepest slope in the image
MIN_CONTRAST = 1e-3  # grey levels per pixel; rounding makes slopes below it
MAX_SIDE = 256  # pixels; larger images are averaged down, to 128 or more
MAX_LENGTH = 7  # of all lines together, in longer sides of the image; a digit has 2 to 5


def image_outline(image: np.ndarray) -> list[np.ndarray]:
    """Return the edges of an image as lines: where its luminance changes fastest.

    The luminance is blurred. Where texture would cover a map with lines, as in photos, it is
    blurred more, so that only larger shapes remain.

    Args:
      image: uint8 [height, width, channels].

    Returns:
      A float64 array [points, 2] for each line, x and y in pixels; the middle of the first pixel
      is (0, 0). Without any edge the list is empty.
    """
    luminance = to_rgb(image) @ np.array(LUMINANCE)
    factor = -(-max(luminance.shape) // MAX_SIDE)
    small = _average_down(luminance, factor)
    return scale_lines(_outline(small.tobytes(), small.shape), factor)


def scale_lines(lines: list[np.ndarray], factor: float) -> list[np.ndarray]:
    """Return lines of an image, in pixels, for the image with `factor` times as many a side."""
    return [(line + 0.5) * factor - 0.5 for line in lines]


@functools.lru_cache(maxsize=128)  # figures draw several maps of an image
def _outline(luminance_bytes: bytes, shape: tuple[int, ...]) -> list[np.ndarray]:
    """Return the edges of a luminance, float64, as lines in its pixels."""
    luminance = np.frombuffer(luminance_bytes).reshape(shape)
    if min(shape) < 2:
        return []
    side = max(shape)
    for blur in BLURS:
        lines = _find_edges(luminance, max(MIN_BLUR, blur * side))
        if sum(_length(line) for line in lines) <= MAX_LENGTH * side:
            break
    return lines


def _average_down(luminance: np.ndarray, factor: int) -> np.ndarray:
    """Return the means of squares of `factor` pixels per side, of those that are whole."""
    rows, columns = (size // factor for size in luminance.shape)
    squares = luminance[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor)
    return squares.mean(axis=(1, 3))


def _find_edges(luminance: np.ndarray, sigma: float) -> list[np.ndarray]:
    """Return the zero crossings of the Laplacian of the blurred luminance, at steep slopes only.

    D. Marr and E. Hildreth, Theory of edge detection, 1980.
    """
    slope = gaussian_gradient_magnitude(luminance, sigma, mode="nearest")
    if slope.max() < MIN_CONTRAST:
        return []
    laplacian = gaussian_laplace(luminance, sigma, mode="nearest")
    edges = np.ma.array(laplacian, mask=slope < MIN_SLOPE * slope.max())
    lines = contour_generator(z=edges, line_type=LineType.Separate).lines(0.0)
    return [np.asarray(line) for line in lines]


def _length(line: np.ndarray) -> float:
    return float(np.hypot(*np.diff(line, axis=0).T).sum())
