"""Where the classified token looks in the last layer: many images at a glance."""

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from vit_hk.figures.images import displayable
from vit_hk.figures.overlay import COLORS, draw_over


def draw_overview(images: np.ndarray, maps: np.ndarray, titles: list[str], reader: str) -> Figure:
    """Each image beside the mean over the heads of its last layer's attention.

    Args:
      images: uint8 [B, height, width, channels].
      maps: [B, rows, columns], weight of each patch.
      titles: B short texts.
      reader: the token that looks, for example "the class token".
    """
    columns = min(4, len(images))
    rows = -(-len(images) // columns)
    height = rows * (1.4 * images.shape[1] / images.shape[2] + 0.4)  # inches of all images
    size = max(3.0 * columns, 7.0), height + 1.3
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(f"Where {reader} looks in the last layer, mean over the heads")
    parts = figure.subfigures(2, 1, squeeze=False, height_ratios=[height, 0.9])
    above, below = parts.ravel()
    blocks = above.subfigures(rows, columns, squeeze=False).ravel()
    for block, image, weights, title in zip(blocks, images, maps, titles, strict=False):
        block.suptitle(title, fontsize=9)
        left, right = block.subplots(1, 2)
        left.imshow(displayable(image))
        drawn = draw_over(right, image, weights, float(maps.max()))
        for axes in (left, right):
            axes.set(xticks=[], yticks=[], anchor="N")
    bar = below.colorbar(
        ScalarMappable(drawn.norm, COLORS), cax=below.add_axes((0.15, 0.6, 0.7, 0.2)),
        orientation="horizontal",
    )  # fmt: skip
    bar.set_label(f"share of the attention of {reader}")
    return figure
