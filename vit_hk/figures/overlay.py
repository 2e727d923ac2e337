"""A map of patches, alone or over its image."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from vit_hk.figures.images import displayable

COLORS = "viridis"  # even steps for colour-blind eyes and in grey
ALPHA = 0.65


def draw_over(axes: Axes, image: np.ndarray, weights: np.ndarray, largest: float) -> AxesImage:
    """Draw weights [rows, columns], not negative, over their image uint8 [height, width, channels].

    The colours go from 0 to `largest`.
    """
    height, width = image.shape[:2]
    axes.imshow(displayable(image))
    return axes.imshow(
        weights, extent=(-0.5, width - 0.5, height - 0.5, -0.5), interpolation="nearest",
        cmap=COLORS, vmin=0.0, vmax=largest, alpha=ALPHA,
    )  # fmt: skip


def add_bar(figure: Figure, axes: list[Axes], largest: float, label: str) -> None:
    """Add the colour bar of maps from 0 to `largest`, below the axes, in plain colours."""
    colors = ScalarMappable(Normalize(0.0, largest), COLORS)
    bar = figure.colorbar(colors, ax=axes, location="bottom", aspect=60, shrink=0.6, pad=0.03)
    bar.set_label(label)


def share_of_sum(kind: str, num_patches: int) -> str:
    """Label of the colour bar of such maps that are scaled to sum to 1."""
    return (
        f"{kind}: share of the map's sum (evenly over the patches would be {1 / num_patches:.3f})"
    )
