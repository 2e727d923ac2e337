"""Maps of patch weights as colours over their image, with a colour bar."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from vit_hk.figures.images import to_rgb

COLORMAP = "viridis"  # perceptually uniform, also in grey and with colour vision deficiency
ALPHA = 0.65  # opacity of a map over its image


def draw_overlay(
    axes: Axes, image: np.ndarray, weights: np.ndarray, max_weight: float
) -> AxesImage:
    """Draw the weights of patches over their image, on a colour scale from 0 to `max_weight`.

    Args:
      axes: where to draw.
      image: uint8 [height, width, channels].
      weights: [rows, columns], one non-negative weight for each patch.
      max_weight: the weight of the last colour.
    """
    height, width = image.shape[:2]
    axes.imshow(to_rgb(image))
    return axes.imshow(
        weights, extent=(-0.5, width - 0.5, height - 0.5, -0.5), interpolation="nearest",
        cmap=COLORMAP, vmin=0.0, vmax=max_weight, alpha=ALPHA,
    )  # fmt: skip


def add_colorbar(figure: Figure, axes: list[Axes], max_weight: float, label: str) -> None:
    """Add an opaque colour bar from 0 to `max_weight` below the axes."""
    mappable = ScalarMappable(Normalize(0.0, max_weight), COLORMAP)
    bar = figure.colorbar(mappable, ax=axes, location="bottom", aspect=60, shrink=0.6, pad=0.03)
    bar.set_label(label)


def label_normalized_maps(kind: str, num_patches: int) -> str:
    """Return the label of the colour bar of maps that each sum to 1."""
    return f"{kind}, as a share of the map's sum (uniform: {1 / num_patches:.3f})"
