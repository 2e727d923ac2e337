"""What a sheet of attention shows, whose patches have 4 x 4 pixels."""

from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

ATTENTION = "attention, and outline of the image"
IMAGE = "image with\npatch borders"


def panels(figure: Figure) -> dict[str, Any]:
    """Return the axes of a figure by their titles."""
    return {axes.get_title(): axes for axes in figure.axes if axes.get_title()}


def colors_of_patches(axes: Axes, layers: int, heads: int, rows: int, columns: int) -> np.ndarray:
    """Return the colour drawn at the center of each patch, [layers, heads, rows, columns, 3].

    Tiles are centered at their ticks.
    """
    (picture,) = axes.images
    pixels = picture.get_array()[..., :3]
    center = 4 * (np.arange(max(rows, columns)) + 0.5)  # of each patch, in pixels of its tile
    found = np.zeros((layers, heads, rows, columns, 3))
    for layer, head, row, column in np.ndindex(found.shape[:4]):
        y = axes.get_yticks()[layer] + center[row] - 2 * rows
        x = axes.get_xticks()[head] + center[column] - 2 * columns
        found[layer, head, row, column] = pixels[int(y), int(x)]
    return found


def colors_of_weights(maps: np.ndarray) -> np.ndarray:
    """Return the colours of weights of any shape on one scale: [..., 3]."""
    return colormaps["viridis"](np.sqrt(maps / maps.max()), bytes=True)[..., :3]
