"""Mistakes between two images that the model gets right: what it takes for evidence."""

import numpy as np
from matplotlib.figure import Figure

from vit_hk.figures.overlay import add_bar, draw_over, share_of_sum

COLUMNS = 4


def draw_right_wrong(
    images: np.ndarray, maps: np.ndarray, classes: list[tuple[str, str]], is_there: np.ndarray
) -> Figure:
    """A row a mistake, with relevance over each image.

    From left to right: an image of the true class that is recognized; the mistake, for its
    true class; the mistake, for the class it was taken for; a recognized image of that class.

    Args:
      images: uint8 [K, 4, height, width, channels].
      maps: [K, 4, rows, columns], each sums to 1.
      classes: K pairs, the true class and the one it was taken for.
      is_there: bool [K, 4], False where the model recognizes no image of the class.
    """
    rows = max(1, len(images))
    aspect = images.shape[2] / images.shape[3]
    tall = 1.5 * min(aspect, aspect**0.5)  # inches; the titles need all of the width
    figure = Figure(figsize=(8.0, rows * (tall + 0.35) + 2.0), layout="constrained")
    grid = figure.subplots(rows, COLUMNS, squeeze=False)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.set_axis_off()
    if not len(images):
        figure.suptitle("No mistakes among the images that were chosen")
        return figure
    figure.suptitle("What speaks for a class: in mistakes, and where the model is right")
    for row, (label, guess) in enumerate(classes):
        titles = (
            f"a {label} that is recognized",
            f"a {label} taken for {guess}:\nwhat speaks for {label}",
            f"the same image:\nwhat speaks for {guess}",
            f"a {guess} that is recognized",
        )
        for column in np.flatnonzero(is_there[row]):
            draw_over(grid[row, column], images[row, column], maps[row, column], float(maps.max()))
            grid[row, column].set_title(titles[column], fontsize=9)
    add_bar(figure, list(grid.flat), float(maps.max()), share_of_sum("relevance", maps[0, 0].size))
    return figure
