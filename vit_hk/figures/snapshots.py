"""A figure of the attention on fixed images at several epochs of the training."""

import numpy as np
from matplotlib.figure import Figure

from vit_hk.figures.images import to_rgb
from vit_hk.figures.overlay import add_colorbar, draw_overlay
from vit_hk.figures.saving import repeat_layout
from vit_hk.figures.text import extra_height, fit_name

FONT_SIZE = 9


def draw_snapshots(
    images: np.ndarray,
    maps: np.ndarray,
    epochs: list[int],
    *,
    actual: list[str],
    predicted: list[list[str]],
    confidence: np.ndarray,
    query_name: str,
) -> Figure:
    """Draw one row for each image and one column for each epoch.

    Args:
      images: uint8 [B, height, width, channels].
      maps: [snapshots, B, rows, columns], attention weight of each patch.
      epochs: rising numbers, one for each snapshot.
      actual: B names of true classes.
      predicted: for each snapshot B names, the class predicted after its epoch.
      confidence: [snapshots, B], probability of the predicted class.
      query_name: name of the query token, for example "the class token".
    """
    rows, columns = len(images), 1 + len(epochs)
    aspect = images.shape[1] / images.shape[2]
    row_height = 1.4 * min(aspect, aspect**0.5)  # inches
    width = max(1.7 * columns, 6.5)  # inches

    def fit(template: str, name: str) -> str:
        return fit_name(template, name, width / columns - 0.1, FONT_SIZE, max_lines=2)

    titles = [
        [
            fit("true {}", actual[row]),
            *(
                fit(f"{{}} ({100 * confidence[step, row]:.0f} %)", predicted[step][row])
                for step in range(len(epochs))
            ),
        ]
        for row in range(rows)
    ]
    extra = extra_height(titles, 1, FONT_SIZE)
    figure = Figure(figsize=(width, rows * (row_height + 0.35) + 2.7 + extra))
    # A smaller pad clips the label of the colour bar, and so does this one below tall images.
    figure.set_layout_engine("constrained", h_pad=0.06 * max(1.0, aspect**0.5))
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
        grid[row, 0].set_title(titles[row][0], fontsize=FONT_SIZE)
        for column, epoch in enumerate(epochs):
            axes = grid[row, column + 1]
            draw_overlay(axes, image, maps[column, row], max_weight)
            heading = f"after epoch {epoch}\n" if row == 0 else ""
            axes.set_title(f"{heading}{titles[row][column + 1]}", fontsize=FONT_SIZE)
    label = f"attention weight (query: {query_name}), mean over heads"
    add_colorbar(figure, grid, max_weight, label)
    if extra:
        repeat_layout(figure)  # high titles get their room step by step
    return figure
