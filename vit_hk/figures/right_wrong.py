"""A figure of the relevance in mistakes, beside correctly classified images of both classes."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vit_hk.figures.overlay import add_colorbar, draw_overlay, label_normalized_maps
from vit_hk.figures.saving import repeat_layout
from vit_hk.figures.text import extra_height, fit_clauses, fit_name

COLUMNS = 4
COLUMN_INCHES = 2.0
FONT_SIZE = 9


def draw_right_wrong(
    images: np.ndarray, maps: np.ndarray, classes: list[tuple[str, str]], exists: np.ndarray
) -> Figure:
    """Draw one row for each mistake, with relevance over each image.

    From left to right: a correctly classified image of the true class; the mistake, with
    relevance for its true class; the mistake, with relevance for its predicted class; a correctly
    classified image of the predicted class.

    Args:
      images: uint8 [mistakes, 4, height, width, channels].
      maps: [mistakes, 4, rows, columns]; each map sums to 1.
      classes: a pair for each mistake, the predicted and the true class.
      exists: bool [mistakes, 4], False where no image of the class is classified correctly.
    """
    rows = max(1, len(images))
    aspect = images.shape[2] / images.shape[3]
    row_height = 1.5 * min(aspect, aspect**0.5)  # inches; the titles need the full width
    titles = [_fit_titles(label, guess) for guess, label in classes]
    extra = extra_height(titles, 2, FONT_SIZE)
    height = rows * (row_height + 0.35) + 2.2 + extra
    figure = Figure(figsize=(COLUMNS * COLUMN_INCHES, height), layout="constrained")
    grid = figure.subplots(rows, COLUMNS, squeeze=False)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.set_axis_off()
    if not len(images):
        figure.suptitle("No mistakes among the selected images")
        return figure
    figure.suptitle("Relevance for a class: mistakes between correctly classified images")
    max_weight = float(maps[exists].max())
    for row, row_titles in enumerate(titles):
        for column in np.flatnonzero(exists[row]):
            draw_overlay(grid[row, column], images[row, column], maps[row, column], max_weight)
            grid[row, column].set_title(row_titles[column], fontsize=FONT_SIZE)
        for column in np.flatnonzero(~exists[row]):
            _explain_gap(grid[row, column], classes[row][1 if column == 0 else 0])
    bar_label = label_normalized_maps("relevance", maps[0, 0].size)
    add_colorbar(figure, grid, max_weight, bar_label)
    if extra:
        repeat_layout(figure)  # high titles get their room step by step
    return figure


def _explain_gap(axes: Axes, name: str) -> None:
    """Write into an empty tile that no image of the class is classified correctly."""
    text = fit_name(
        "no image of {} is classified correctly", name, COLUMN_INCHES - 0.3, FONT_SIZE, 4
    )
    axes.text(
        0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color="0.4",
        fontsize=FONT_SIZE,
    )  # fmt: skip


def _fit_titles(label: str, guess: str) -> list[str]:
    """Return the titles of a row, whose mistake is of class `label` and predicted as `guess`."""
    return [
        f"{_fit_classes(label, label)}\n{_fit_map(label)}",
        f"{_fit_classes(label, guess)}\n{_fit_map(label)}",
        f"same image:\n{_fit_map(guess)}",
        f"{_fit_classes(guess, guess)}\n{_fit_map(guess)}",
    ]


def _fit_classes(label: str, guess: str) -> str:
    clauses = (("true {},", label), ("predicted {}:", guess))
    return fit_clauses(clauses, COLUMN_INCHES - 0.1, FONT_SIZE, max_lines=2)


def _fit_map(name: str) -> str:
    return fit_name("relevance for {}", name, COLUMN_INCHES - 0.1, FONT_SIZE, max_lines=2)
