"""A figure of rollout beside relevance for the predicted and for the true class."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vit_hk.figures.images import to_rgb
from vit_hk.figures.overlay import add_colorbar, draw_overlay, label_normalized_maps
from vit_hk.figures.text import fit_name, lines_height, text_width

HEADINGS = (
    "image",
    "rollout\n(any class)",
    "relevance for the\npredicted class",
    "relevance for the\ntrue class",
)
MAX_ROWS = 6  # images in one column of the sheet; a second column takes the others
FONT_SIZE = 9
MAX_LABEL_INCHES = 1.7
SHORT_LABEL_INCHES = 0.9  # a column of the sheet has room for labels of this width


def draw_class_maps(
    images: np.ndarray,
    rollout: np.ndarray,
    predicted: np.ndarray,
    actual: np.ndarray,
    classes: list[tuple[str, str]],
) -> Figure:
    """Draw one row for each image, with its maps as overlays.

    Rollout has a colour scale of its own, because its maps are much closer to uniform.

    Args:
      images: uint8 [B, height, width, channels].
      rollout: [B, rows, columns]; each map sums to 1.
      predicted: [B, rows, columns], relevance for the predicted class; each map sums to 1.
      actual: [B, rows, columns], relevance for the true class; each map sums to 1.
      classes: B pairs, the predicted and the true class.
    """
    blocks = 1 if len(images) <= MAX_ROWS else 2
    rows = -(-len(images) // blocks)
    aspect = images.shape[1] / images.shape[2]
    row_height = 1.35 * min(aspect, aspect**0.5)  # inches; the headings need the full width
    labels = [_fit_label(guess, label, row_height) for guess, label in classes]
    widest = max(text_width(line, FONT_SIZE) for text in labels for line in text.split("\n"))
    width = blocks * (7.0 + max(0.0, widest - SHORT_LABEL_INCHES))
    figure = Figure(figsize=(width, rows * (row_height + 0.1) + 2.8))
    # A smaller pad clips the last line of text, and so does this one below tall images.
    figure.set_layout_engine("constrained", h_pad=0.1 * max(1.0, aspect**0.5))
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
                axes.set_title(heading, fontsize=FONT_SIZE)
        cells[0].imshow(to_rgb(image))
        cells[0].text(
            -0.08, 0.5, labels[number], transform=cells[0].transAxes, ha="right", va="center",
            fontsize=FONT_SIZE,
        )  # fmt: skip
        draw_overlay(cells[1], image, rollout[number], max_rollout)
        draw_overlay(cells[2], image, predicted[number], max_relevance)
        if classes[number][0] == classes[number][1]:
            _mark_same_map(cells[3], aspect)
        else:
            draw_overlay(cells[3], image, actual[number], max_relevance)
    for kind, max_weight in (("relevance", max_relevance), ("rollout", max_rollout)):
        bar_label = label_normalized_maps(kind, rollout[0].size)
        add_colorbar(figure, grid, max_weight, bar_label)
    return figure


def _fit_label(guess: str, label: str, row_height: float) -> str:
    """Return the label of a row of `row_height` inches, no higher than the row."""
    clauses = (
        [("true {}", label)] if guess == label else [("true {},", label), ("predicted {}", guess)]
    )
    max_lines = 2 if row_height > lines_height(4, FONT_SIZE) else 1  # of each class
    return "\n".join(
        fit_name(template, name, MAX_LABEL_INCHES, FONT_SIZE, max_lines)
        for template, name in clauses
    )


def _mark_same_map(axes: Axes, aspect: float) -> None:
    axes.set_box_aspect(aspect)
    axes.text(
        0.5, 0.5, "same class", transform=axes.transAxes, ha="center", va="center", color="0.4"
    )
