"""A figure of the attention on fixed images at several epochs of the training."""

import numpy as np
from matplotlib.figure import Figure

from vit_hk.figures.images import to_rgb
from vit_hk.figures.overlay import add_colorbar, draw_overlay


def draw_snapshots(
    images: np.ndarray,
    maps: np.ndarray,
    epochs: list[int],
    labels: list[str],
    guesses: list[list[str]],
    query_name: str,
) -> Figure:
    """Draw one row for each image and one column for each epoch.

    Args:
      images: uint8 [B, height, width, channels].
      maps: [S, B, rows, columns], attention weight of each patch.
      epochs: S rising numbers.
      labels: B names of true classes.
      guesses: S lists of B short texts, the prediction after that epoch.
      query_name: name of the query token, for example "the class token".
    """
    rows, columns = len(images), 1 + len(epochs)
    aspect = images.shape[1] / images.shape[2]
    row_height = 1.4 * min(aspect, aspect**0.5)  # inches
    figure = Figure(figsize=(max(1.7 * columns, 6.5), rows * (row_height + 0.35) + 2.4))
    figure.set_layout_engine("constrained", h_pad=0.06)
    figure.suptitle(
        f"Attention of {query_name} in the last layer during training\n"
        "(above each map: predicted class and its probability)"
    )
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.set_axis_off()
    max_weight = float(maps.max())
    for row, image in enumerate(images):
        grid[row, 0].imshow(to_rgb(image))
        grid[row, 0].set_title(f"true {labels[row]}", fontsize=9)
        for column, epoch in enumerate(epochs):
            axes = grid[row, column + 1]
            draw_overlay(axes, image, maps[column, row], max_weight)
            heading = f"after epoch {epoch}\n" if row == 0 else ""
            axes.set_title(f"{heading}{guesses[column][row]}", fontsize=9)
    label = f"attention weight (query: {query_name}), mean over heads"
    add_colorbar(figure, list(grid.flat), max_weight, label)
    return figure
