"""What the patch embedding, or the stem before it, looks for."""

import numpy as np
from matplotlib.figure import Figure

COLUMNS = 7


def draw_filters(images: np.ndarray, shares: np.ndarray, num_filters: int) -> Figure:
    """Principal components of the patch embedding, the most important first.

    Args:
      images: [K, P, P, channels].
      shares: [K], of the variance of the filters.
      num_filters: D, of which these are the components.
    """
    return _draw_tiles(
        images,
        [f"{100 * share:.1f} %" for share in shares],
        f"Principal components of the {num_filters} filters of the patch embedding\n"
        f"and the share of the variance that each explains ({100 * shares.sum():.0f} % in all)",
    )


def draw_kernels(kernels: np.ndarray, num_kernels: int) -> Figure:
    """Kernels of the first convolution of the stem.

    Args:
      kernels: [K, side, side, channels], the first K.
      num_kernels: how many there are.
    """
    shown, side, _, _ = kernels.shape
    some = "" if shown == num_kernels else f"{shown} of "
    return _draw_tiles(
        kernels,
        [f"{number}" for number in range(1, shown + 1)],
        f"What the stem looks for before patches are cut:\n{some}the {num_kernels} kernels of "
        f"{side} x {side} pixels of its first convolution",
    )


def _draw_tiles(images: np.ndarray, titles: list[str], title: str) -> Figure:
    """Small pictures [K, side, side, channels] on one scale.

    Three channels are shown as one colour picture, grey where a number is 0; any other
    number as pictures side by side on one scale from negative to positive.
    """
    columns = min(COLUMNS, len(images))
    rows = -(-len(images) // columns)
    channels = images.shape[-1]
    wide = 1 if channels == 3 else channels  # pictures beside each other
    size = max(6.5, columns * (1.05 * wide + 0.1)), rows * 1.4 + 1.8
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(title)
    grid = figure.subplots(rows, columns, squeeze=False)
    largest = float(np.abs(images).max()) or 1.0
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.set_axis_off()
    for axes, image, above in zip(grid.flat, images, titles, strict=False):
        axes.set_title(above, fontsize=8)
        if channels == 3:
            axes.imshow(0.5 + 0.5 * image / largest, interpolation="nearest")
        else:
            beside = np.concatenate(np.moveaxis(image, -1, 0), axis=1)
            drawn = axes.imshow(
                beside, interpolation="nearest", cmap="RdBu_r", vmin=-largest, vmax=largest
            )
    if channels != 3:
        bar = figure.colorbar(drawn, ax=grid, location="bottom", aspect=50, shrink=0.7, pad=0.03)
        bar.set_label("weight of a pixel (red and blue have opposite signs)")
    return figure
