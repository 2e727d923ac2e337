"""What the patch embedding looks for."""

import numpy as np
from matplotlib.figure import Figure

COLUMNS = 7


def draw_filters(images: np.ndarray, shares: np.ndarray, num_filters: int) -> Figure:
    """Principal components of the patch embedding, the most important first.

    Three channels are shown as one colour picture, grey where the component is 0; any other
    number as pictures side by side on one scale from negative to positive.

    Args:
      images: [K, P, P, channels].
      shares: [K], of the variance of the filters.
      num_filters: D, of which these are the components.
    """
    columns = min(COLUMNS, len(images))
    rows = -(-len(images) // columns)
    channels = images.shape[-1]
    wide = 1 if channels == 3 else channels  # pictures of a component
    size = max(6.5, columns * (1.05 * wide + 0.1)), rows * 1.4 + 1.8
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(
        f"Principal components of the {num_filters} filters of the patch embedding\n"
        f"and the share of the variance that each explains ({100 * shares.sum():.0f} % in all)"
    )
    grid = figure.subplots(rows, columns, squeeze=False)
    largest = float(np.abs(images).max()) or 1.0
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.set_axis_off()
    for axes, image, share in zip(grid.flat, images, shares, strict=False):
        axes.set_title(f"{100 * share:.1f} %", fontsize=8)
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
