"""Maps of patch weights as opaque colours, with the outline of their image on top."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patheffects import withStroke

from vit_hk.figures.outline import image_outline

COLORMAP = "viridis"  # perceptually uniform, also in grey and with colour vision deficiency
GAMMA = 0.5  # exponent of the colour scale: the square root tells small weights apart
SCALE_NAME = "square-root colour scale"  # said at each bar of such colours


def linear_scale(low: float, high: float) -> Normalize:
    """Return a linear colour scale between two values."""
    return Normalize(low, high)


def color_scale(max_weight: float) -> PowerNorm:
    """Return the scale of colours for weights from 0 to `max_weight`."""
    return PowerNorm(GAMMA, 0.0, max_weight or 1.0)


def draw_overlay(
    axes: Axes, image: np.ndarray, weights: np.ndarray, max_weight: float
) -> AxesImage:
    """Draw the weights of patches in the colours of the bar, and the outline of their image.

    Args:
      axes: where to draw.
      image: uint8 [height, width, channels].
      weights: [rows, columns], one non-negative weight for each patch.
      max_weight: the weight of the last colour.
    """
    height, width = image.shape[:2]
    tiles = axes.imshow(
        weights, extent=(-0.5, width - 0.5, height - 0.5, -0.5), interpolation="nearest",
        cmap=COLORMAP, norm=color_scale(max_weight),
    )  # fmt: skip
    draw_outlines(axes, image_outline(image))
    return tiles


def draw_outlines(axes: Axes, lines: list[np.ndarray], width: float = 0.8) -> None:
    """Draw lines [points, 2] in white with a dark edge, so that they stand out on every colour.

    Args:
      axes: where to draw.
      lines: x and y of points in the units of the axes.
      width: of the white line, in points.
    """
    edge = withStroke(linewidth=2.2 * width, foreground="black")
    collection = LineCollection(lines, colors="white", linewidths=width, path_effects=[edge])
    axes.add_collection(collection, autolim=False)


def add_colorbar(figure: Figure, grid: np.ndarray, max_weight: float, label: str) -> None:
    """Add a colour bar from 0 to `max_weight` below a grid of axes, which names the scale."""
    bar = colorbar_below(figure, grid, weight_colors(max_weight), aspect=60, shrink=0.6)
    bar.set_label(label_scale(label))


def colorbar_below(
    figure: Figure, grid: np.ndarray, mappable: ScalarMappable, aspect: float, shrink: float
) -> Colorbar:
    """Add a colour bar below a grid of axes.

    It belongs to the first and the last axes only: the layout measures a bar once for each axes
    that it belongs to, which would take most of its time.

    Args:
      figure: the figure of the grid.
      grid: axes [rows, columns].
      mappable: the colours of the bar.
      aspect: its length, as a multiple of its height.
      shrink: its length, as a share of the width of the grid.
    """
    for axes in grid.flat:
        axes.set_anchor("S")  # a bar does so with its own axes, and all must stay in line
    corners = [grid.flat[0], grid.flat[-1]]
    return figure.colorbar(
        mappable, ax=corners, location="bottom", aspect=aspect, shrink=shrink, pad=0.03
    )


def weight_colors(max_weight: float) -> ScalarMappable:
    """Return the colours of weights from 0 to `max_weight`, for a bar."""
    return ScalarMappable(color_scale(max_weight), COLORMAP)


def label_scale(label: str) -> str:
    """Return the label of a bar, which says that the scale is not linear."""
    return f"{label}\n{SCALE_NAME}"


def label_normalized_maps(kind: str, num_patches: int) -> str:
    """Return the label of the colour bar of maps that each sum to 1."""
    return f"{kind}, as a share of the map's sum (uniform: {1 / num_patches:.3g})"
