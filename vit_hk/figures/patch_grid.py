"""A figure of one map for each patch, placed where that patch lies in the image."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from vit_hk.figures.outline import image_outline
from vit_hk.figures.overlay import draw_outlines

GAP = 0.1  # between tiles, as a share of a tile's width
FRAME_COLOR = "tab:orange"


def draw_patch_grid(
    tiles: np.ndarray,
    title: str,
    unit: str,
    colormap: str,
    scale: Normalize,
    image: np.ndarray | None = None,
) -> Figure:
    """Draw a map for each patch at the position of the patch; a frame marks the patch on its map.

    Args:
      tiles: [rows, columns, rows, columns]; the first two axes are the position of the patch,
        the last two its map over all patches.
      title: name of the relation between patches.
      unit: label of the colour bar.
      colormap: name of a matplotlib colour map.
      scale: from values to the colours of the map.
      image: uint8 [height, width, channels], whose outline is drawn on each map.
    """
    rows, columns = tiles.shape[:2]
    aspect = rows / columns  # height of a tile, in units of its width
    width = 6.0 / max(1.0, aspect)  # inches
    figure = Figure(figsize=(max(width, 4.5) + 1, width * aspect + 2.2), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots()
    outline = _scale_to_tile(image, aspect) if image is not None else []
    for row in range(rows):
        for column in range(columns):
            left, top = column * (1 + GAP), row * (aspect + GAP)
            extent = (left, left + 1, top + aspect, top)
            axes.imshow(
                tiles[row, column], extent=extent, interpolation="nearest", cmap=colormap,
                norm=scale,
            )  # fmt: skip
            place = np.array([left, top])
            draw_outlines(axes, [line + place for line in outline], width=0.5)
            corner = left + column / columns, top + row * aspect / rows
            frame = Rectangle(
                corner, 1 / columns, aspect / rows, fill=False, color=FRAME_COLOR, linewidth=1.5,
                zorder=3,  # above the outline
            )  # fmt: skip
            axes.add_patch(frame)
    _label_tiles(axes, rows, columns)
    mappable = ScalarMappable(scale, colormap)
    figure.colorbar(mappable, ax=axes, location="bottom", aspect=50, shrink=0.8, label=unit)
    return figure


def _scale_to_tile(image: np.ndarray, aspect: float) -> list[np.ndarray]:
    """Return the outline of an image in a tile of width 1 and height `aspect`."""
    size = np.array([image.shape[1], image.shape[0]])
    return [(line + 0.5) / size * [1, aspect] for line in image_outline(image)]


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
