"""A figure of rollout beside relevance for the predicted and for the true class."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vit_hk.figures.images import to_rgb
from vit_hk.figures.overlay import add_colorbar, draw_overlay, label_normalized_maps

HEADINGS = (
    "image",
    "rollout\n(any class)",
    "relevance for the\npredicted class",
    "relevance for the\ntrue class",
)
MAX_ROWS = 6  # images in one column of the sheet; a second column takes the others


def draw_class_maps(
    images: np.ndarray,
    rollout: np.ndarray,
    predicted: np.ndarray,
    actual: np.ndarray,
    titles: list[tuple[str, str]],
) -> Figure:
    """Draw one row for each image, with its maps as overlays.

    Rollout has a colour scale of its own, because its maps are much closer to uniform.

    Args:
      images: uint8 [B, height, width, channels].
      rollout: [B, rows, columns]; each map sums to 1.
      predicted: [B, rows, columns], relevance for the predicted class; each map sums to 1.
      actual: [B, rows, columns], relevance for the true class; each map sums to 1.
      titles: B pairs, the predicted and the true class.
    """
    blocks = 1 if len(images) <= MAX_ROWS else 2
    rows = -(-len(images) // blocks)
    aspect = images.shape[1] / images.shape[2]
    row_height = 1.35 * min(aspect, aspect**0.5)  # inches; the headings need the full width
    figure = Figure(figsize=(7.0 * blocks, rows * (row_height + 0.1) + 2.8))
    figure.set_layout_engine("constrained", h_pad=0.1)  # a smaller pad clips the last line of text
    figure.suptitle("Rollout, which is the same for all classes, and relevance for one class")
    columns = [1, 1, 1, 1, 0.35] * blocks  # the fifth column is the gap between the blocks
    grid = figure.subplots(
        rows, 5 * blocks - 1, squeeze=False, width_ratios=columns[: 5 * blocks - 1]
    )
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.set_axis_off()
    max_rollout, max_relevance = float(rollout.max()), float(max(predicted.max(), actual.max()))
    for number, image in enumerate(images):
        block, row = divmod(number, rows)
        cells = grid[row, 5 * block : 5 * block + 4]
        if row == 0:
            for axes, heading in zip(cells, HEADINGS, strict=True):
                axes.set_title(heading, fontsize=9)
        guess, label = titles[number]
        cells[0].imshow(to_rgb(image))
        _label_row(cells[0], label, guess)
        draw_overlay(cells[1], image, rollout[number], max_rollout)
        draw_overlay(cells[2], image, predicted[number], max_relevance)
        if guess == label:
            _mark_same_map(cells[3], aspect)
        else:
            draw_overlay(cells[3], image, actual[number], max_relevance)
    for kind, max_weight in (("relevance", max_relevance), ("rollout", max_rollout)):
        bar_label = label_normalized_maps(kind, rollout[0].size)
        add_colorbar(figure, list(grid.flat), max_weight, bar_label)
    return figure


def _label_row(axes: Axes, label: str, guess: str) -> None:
    text = f"true {label}" if guess == label else f"true {label},\npredicted {guess}"
    axes.text(-0.08, 0.5, text, transform=axes.transAxes, ha="right", va="center", fontsize=9)


def _mark_same_map(axes: Axes, aspect: float) -> None:
    axes.set_box_aspect(aspect)
    axes.text(
        0.5, 0.5, "same class", transform=axes.transAxes, ha="center", va="center", color="0.4"
    )
