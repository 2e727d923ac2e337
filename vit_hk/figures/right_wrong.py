"""A figure of the relevance in mistakes, beside correctly classified images of both classes."""

import numpy as np
from matplotlib.figure import Figure

from vit_hk.figures.overlay import add_colorbar, draw_overlay, label_normalized_maps

COLUMNS = 4


def draw_right_wrong(
    images: np.ndarray, maps: np.ndarray, classes: list[tuple[str, str]], exists: np.ndarray
) -> Figure:
    """Draw one row for each mistake, with relevance over each image.

    From left to right: a correctly classified image of the true class; the mistake, with
    relevance for its true class; the mistake, with relevance for its predicted class; a correctly
    classified image of the predicted class.

    Args:
      images: uint8 [K, 4, height, width, channels].
      maps: [K, 4, rows, columns]; each map sums to 1.
      classes: K pairs, the true and the predicted class of the mistake.
      exists: bool [K, 4], False where no image of the class is classified correctly.
    """
    rows = max(1, len(images))
    aspect = images.shape[2] / images.shape[3]
    row_height = 1.5 * min(aspect, aspect**0.5)  # inches; the titles need the full width
    figure = Figure(figsize=(8.0, rows * (row_height + 0.35) + 2.0), layout="constrained")
    grid = figure.subplots(rows, COLUMNS, squeeze=False)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.set_axis_off()
    if not len(images):
        figure.suptitle("No mistakes among the selected images")
        return figure
    figure.suptitle("Relevance for a class: mistakes between correctly classified images")
    max_weight = float(maps.max())
    for row, (label, guess) in enumerate(classes):
        titles = (
            f"true {label}, predicted {label}:\nrelevance for {label}",
            f"true {label}, predicted {guess}:\nrelevance for {label}",
            f"same image:\nrelevance for {guess}",
            f"true {guess}, predicted {guess}:\nrelevance for {guess}",
        )
        for column in np.flatnonzero(exists[row]):
            draw_overlay(grid[row, column], images[row, column], maps[row, column], max_weight)
            grid[row, column].set_title(titles[column], fontsize=9)
    bar_label = label_normalized_maps("relevance", maps[0, 0].size)
    add_colorbar(figure, list(grid.flat), max_weight, bar_label)
    return figure
