"""Each patch's view of all patches: small maps that stand where their patches are."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from vit_hk.figures.images import displayable
from vit_hk.figures.overlay import ALPHA

GAP = 0.1  # between tiles, as a part of a tile
FRAME = "tab:orange"


def draw_patch_grid(
    tiles: np.ndarray,
    title: str,
    unit: str,
    colors: str,
    limits: tuple[float, float],
    image: np.ndarray | None = None,
) -> Figure:
    """A tile for each patch, in the place of the patch; a frame marks it on its own tile.

    Args:
      tiles: [rows, columns, rows, columns]: of the patch, then of the patches it is set against.
      title: what is shown.
      unit: label of the colour bar.
      colors: name of a colour map.
      limits: smallest and largest value of the colour scale.
      image: uint8 [height, width, channels], shown below each tile.
    """
    rows, columns = tiles.shape[:2]
    aspect = rows / columns  # of a tile, whose width is the unit
    width = 6.0 / max(1.0, aspect)  # inches
    figure = Figure(figsize=(max(width, 4.5) + 1, width * aspect + 2.0), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots()
    for row in range(rows):
        for column in range(columns):
            left, top = column * (1 + GAP), row * (aspect + GAP)
            extent = (left, left + 1, top + aspect, top)
            if image is not None:
                axes.imshow(displayable(image), extent=extent)
            axes.imshow(
                tiles[row, column], extent=extent, interpolation="nearest", cmap=colors,
                vmin=limits[0], vmax=limits[1], alpha=1.0 if image is None else ALPHA,
            )  # fmt: skip
            place = left + column / columns, top + row * aspect / rows
            axes.add_patch(Rectangle(place, 1 / columns, aspect / rows, fill=False, color=FRAME))
    _label_tiles(axes, rows, columns)
    mappable = ScalarMappable(Normalize(*limits), colors)
    figure.colorbar(mappable, ax=axes, location="bottom", aspect=50, shrink=0.8, label=unit)
    return figure


def _label_tiles(axes: Axes, rows: int, columns: int) -> None:
    aspect = rows / columns
    axes.set(
        xlim=(-GAP / 2, columns * (1 + GAP) - GAP / 2), xlabel="column of the patch",
        ylim=(rows * (aspect + GAP) - GAP / 2, -GAP / 2), ylabel="row of the patch",
    )  # fmt: skip
    axes.set_xticks(
        [column * (1 + GAP) + 0.5 for column in range(columns)],
        [str(column + 1) for column in range(columns)],
    )
    axes.set_yticks(
        [row * (aspect + GAP) + aspect / 2 for row in range(rows)],
        [str(row + 1) for row in range(rows)],
    )
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
