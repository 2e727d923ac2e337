"""What speaks for which class: rollout beside relevance, for the predicted and the true class."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vit_hk.figures.images import displayable
from vit_hk.figures.overlay import add_bar, draw_over, share_of_sum

HEADINGS = (
    "the image",
    "rollout\n(of no class)",
    "relevance for the\npredicted class",
    "relevance for the\ntrue class",
)
MOST_IN_A_COLUMN = 6  # images, before a second column starts


def draw_class_maps(
    images: np.ndarray,
    rollout: np.ndarray,
    predicted: np.ndarray,
    actual: np.ndarray,
    titles: list[tuple[str, str]],
) -> Figure:
    """A row an image; rollout has a scale of its own, since it is far more spread out.

    Args:
      images: uint8 [B, height, width, channels].
      rollout: [B, rows, columns], each map sums to 1.
      predicted: the same shape; relevance for the predicted class.
      actual: the same shape; relevance for the true class.
      titles: B pairs, the predicted and the true class.
    """
    blocks = 1 if len(images) <= MOST_IN_A_COLUMN else 2
    rows = -(-len(images) // blocks)
    aspect = images.shape[1] / images.shape[2]
    tall = 1.35 * min(aspect, aspect**0.5)  # inches; the headings need all of the width
    figure = Figure(figsize=(7.0 * blocks, rows * (tall + 0.1) + 2.8))
    figure.set_layout_engine("constrained", h_pad=0.1)  # less cuts the last line
    figure.suptitle("Which patches count: rollout knows no class, relevance speaks for one")
    columns = [1, 1, 1, 1, 0.35] * blocks  # the fifth is a gap between the blocks
    grid = figure.subplots(
        rows, 5 * blocks - 1, squeeze=False, width_ratios=columns[: 5 * blocks - 1]
    )
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
        axes.set_axis_off()
    most_rollout, most_relevance = float(rollout.max()), float(max(predicted.max(), actual.max()))
    for number, image in enumerate(images):
        block, row = divmod(number, rows)
        cells = grid[row, 5 * block : 5 * block + 4]
        if row == 0:
            for axes, heading in zip(cells, HEADINGS, strict=True):
                axes.set_title(heading, fontsize=9)
        guess, label = titles[number]
        cells[0].imshow(displayable(image))
        _name_row(cells[0], f"is {label}" if guess == label else f"is {label},\ntaken for {guess}")
        draw_over(cells[1], image, rollout[number], most_rollout)
        draw_over(cells[2], image, predicted[number], most_relevance)
        if guess == label:
            _say_same(cells[3], aspect)
        else:
            draw_over(cells[3], image, actual[number], most_relevance)
    for kind, largest in (("relevance", most_relevance), ("rollout", most_rollout)):
        add_bar(figure, list(grid.flat), largest, share_of_sum(kind, rollout[0].size))
    return figure


def _name_row(axes: Axes, text: str) -> None:
    axes.text(-0.08, 0.5, text, transform=axes.transAxes, ha="right", va="center", fontsize=9)


def _say_same(axes: Axes, aspect: float) -> None:
    axes.set_box_aspect(aspect)
    axes.text(0.5, 0.5, "the same", transform=axes.transAxes, ha="center", va="center", color="0.4")
