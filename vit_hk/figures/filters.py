"""Figures of the filters of the patch embedding and of the convolution kernels of the stem."""

import numpy as np
from matplotlib.figure import Figure

from vit_hk.figures.overlay import colorbar_below

COLUMNS = 7


def draw_filters(images: np.ndarray, shares: np.ndarray, num_filters: int) -> Figure:
    """Draw the principal components of the filters of the patch embedding.

    Args:
      images: [components, P, P, channels], by falling share of the variance.
      shares: [components], share of the variance that each component explains.
      num_filters: D, the number of filters.
    """
    return _draw_tiles(
        images,
        [f"{100 * share:.1f} %" for share in shares],
        f"Principal components of the {num_filters} filters of the patch embedding\n"
        f"and the share of the variance that each explains ({100 * shares.sum():.0f} % in total)",
    )


def draw_kernels(kernels: np.ndarray, num_kernels: int) -> Figure:
    """Draw kernels of the first convolution of the stem.

    Args:
      kernels: [kernels, side, side, channels], the first ones.
      num_kernels: the number of kernels of that convolution.
    """
    shown, side, _, _ = kernels.shape
    which = "the" if shown == num_kernels else f"{shown} of the"
    return _draw_tiles(
        kernels,
        [f"{number}" for number in range(1, shown + 1)],
        f"First convolution of the stem:\n{which} {num_kernels} kernels of {side} x {side} pixels",
    )


def _draw_tiles(images: np.ndarray, titles: list[str], title: str) -> Figure:
    """Draw small pictures [pictures, side, side, channels] on one colour scale.

    Three channels become one RGB picture in which grey is 0. Of any other number, the channels
    stand side by side on a diverging scale.
    """
    columns = min(COLUMNS, len(images))
    rows = -(-len(images) // columns)
    channels = images.shape[-1]
    pictures_per_tile = 1 if channels == 3 else channels
    size = max(6.5, columns * (1.05 * pictures_per_tile + 0.1)), rows * 1.4 + 1.8
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(title)
    grid = figure.subplots(rows, columns, squeeze=False)
    max_weight = float(np.abs(images).max()) or 1.0
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.set_axis_off()
    for axes, image, heading in zip(grid.flat, images, titles, strict=False):
        axes.set_title(heading, fontsize=8)
        if channels == 3:
            axes.imshow(0.5 + 0.5 * image / max_weight, interpolation="nearest")
        else:
            side_by_side = np.concatenate(np.moveaxis(image, -1, 0), axis=1)
            mappable = axes.imshow(
                side_by_side, interpolation="nearest", cmap="RdBu_r",
                vmin=-max_weight, vmax=max_weight,
            )  # fmt: skip
    if channels == 3:
        figure.supxlabel("weights as RGB colours; grey is 0", fontsize=10)
    else:
        bar = colorbar_below(figure, grid, mappable, aspect=50, shrink=0.7)
        bar.set_label("weight of a pixel (red: positive, blue: negative)")
    return figure
