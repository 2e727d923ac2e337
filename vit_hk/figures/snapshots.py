"""How attention forms while the model learns."""

import numpy as np
from matplotlib.figure import Figure

from vit_hk.figures.images import displayable
from vit_hk.figures.overlay import add_bar, draw_over


def draw_snapshots(
    images: np.ndarray,
    maps: np.ndarray,
    epochs: list[int],
    labels: list[str],
    guesses: list[list[str]],
    reader: str,
) -> Figure:
    """A row an image, a column an epoch.

    Args:
      images: uint8 [B, height, width, channels].
      maps: [S, B, rows, columns], weight of each patch.
      epochs: S of them, rising.
      labels: B names of the true classes.
      guesses: S lists of B short texts, the prediction of that epoch.
      reader: the token that looks, for example "the class token".
    """
    rows, columns = len(images), 1 + len(epochs)
    aspect = images.shape[1] / images.shape[2]
    tall = 1.4 * min(aspect, aspect**0.5)  # inches
    figure = Figure(figsize=(max(1.7 * columns, 6.5), rows * (tall + 0.35) + 2.4))
    figure.set_layout_engine("constrained", h_pad=0.06)
    figure.suptitle(
        f"Where {reader} looks in the last layer, while the model learns\n"
        "above each map: the prediction, and how sure it is"
    )
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.set_axis_off()
    largest = float(maps.max())
    for row, image in enumerate(images):
        grid[row, 0].imshow(displayable(image))
        grid[row, 0].set_title(f"is {labels[row]}", fontsize=9)
        for column, epoch in enumerate(epochs):
            axes = grid[row, column + 1]
            draw_over(axes, image, maps[column, row], largest)
            heading = f"after epoch {epoch}\n" if row == 0 else ""
            axes.set_title(f"{heading}{guesses[column][row]}", fontsize=9)
    add_bar(figure, list(grid.flat), largest, f"share of the attention of {reader}, mean of heads")
    return figure
