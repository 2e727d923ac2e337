"""The outline of an image: lines along its edges, which stay visible on a map of opaque colours."""

import numpy as np
from contourpy import LineType, contour_generator
from scipy.ndimage import gaussian_gradient_magnitude, gaussian_laplace

from vit_hk.figures.images import to_rgb

LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)
BLUR = 1 / 40  # standard deviation of the blur, as a share of the longer side
MIN_BLUR = 0.7  # pixels; less would follow the corners of pixels
MIN_SLOPE = 0.1  # of an edge, as a share of the steepest slope in the image
MIN_CONTRAST = 1e-3  # grey levels per pixel; rounding makes slopes below it


def image_outline(image: np.ndarray) -> list[np.ndarray]:
    """Return the edges of an image as lines: where its luminance changes fastest.

    These are the zero crossings of the Laplacian of the blurred luminance, without those where the
    slope is small (Marr and Hildreth, Theory of edge detection, 1980).

    Args:
      image: uint8 [height, width, channels].

    Returns:
      A float64 array [points, 2] for each line, x and y in pixels; the middle of the first pixel
      is (0, 0). Without any edge the list is empty.
    """
    luminance = to_rgb(image) @ np.array(LUMINANCE)
    sigma = max(MIN_BLUR, BLUR * max(luminance.shape))
    slope = gaussian_gradient_magnitude(luminance, sigma, mode="nearest")
    if min(luminance.shape) < 2 or slope.max() < MIN_CONTRAST:
        return []
    laplacian = gaussian_laplace(luminance, sigma, mode="nearest")
    edges = np.ma.array(laplacian, mask=slope < MIN_SLOPE * slope.max())
    lines = contour_generator(z=edges, line_type=LineType.Separate).lines(0.0)
    return [np.asarray(line) for line in lines]
