"""A figure of the confusion matrix."""

import numpy as np
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vit_hk.figures.text import fit_line, lines_height, text_width

INCHES_PER_CLASS = 0.62
MAX_INCHES = 20.0  # side without long names; hundreds of classes would exceed memory otherwise
MAX_NUMBERED_CLASSES = 30  # with more classes the cells are too small for a legible number
MAX_NAME_INCHES = 2.6
CORRECT = "0.9"  # grey
SHORT_NAME_INCHES = 0.9  # the side above has room for names of this width


def mistake_shares(counts: np.ndarray) -> np.ndarray:
    """Return the share of each true class that is taken for each other class, float [C, C].

    The diagonal is 0: a colour scale that ended at the correct images would show a model without
    mistakes and one with many alike.

    Args:
      counts: int [C, C]; rows are true classes, columns predicted classes.
    """
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    np.fill_diagonal(shares, 0.0)
    return shares


def shade_mistakes(counts: np.ndarray) -> np.ndarray:
    """Return the mistake shares relative to the largest one, float [C, C] from 0 to 1.

    Args:
      counts: int [C, C]; rows are true classes, columns predicted classes.
    """
    shares = mistake_shares(counts)
    return shares / (shares.max() or 1.0)


def draw_confusion(counts: np.ndarray, class_names: list[str]) -> Figure:
    """Draw the confusion matrix: colours show the shares of mistakes, numbers the counts.

    The scale of the colours ends at the largest mistake; correct images are on grey. The row of a
    class without images is hatched. Of hundreds of classes, only every n-th is named, as many as
    fit.

    Args:
      counts: int [C, C]; rows are true classes, columns predicted classes.
      class_names: C names.
    """
    classes = len(class_names)
    with_numbers = classes <= MAX_NUMBERED_CLASSES
    font_size = 10 if with_numbers else 7
    size = float(np.clip(INCHES_PER_CLASS * classes + 1.4, 6, MAX_INCHES))
    cell = 0.85 * (size - 1.4) / classes  # inches; about the width of a cell in the figure
    step = max(1, int(np.ceil(lines_height(1, font_size) / cell)))
    names = [fit_line(name, MAX_NAME_INCHES, font_size) for name in class_names[::step]]
    widest = max(text_width(name, font_size) for name in names)
    vertical = widest > 0.9 * step * cell
    margin = max(0.0, widest - SHORT_NAME_INCHES)
    figure = Figure(
        figsize=(size + 1 + margin, size + (margin if vertical else 0)), layout="constrained"
    )
    axes = figure.subplots()
    shares = 100 * mistake_shares(counts)
    largest = float(shares.max()) or 1.0
    ticks = np.array(MaxNLocator(6).tick_values(0, largest))
    axes.set_facecolor(CORRECT)
    sns.heatmap(
        shares,
        ax=axes,
        annot=np.where(counts > 0, counts.astype(str), "") if with_numbers else False,
        fmt="",
        mask=np.eye(classes, dtype=bool),
        cmap="Oranges",
        vmin=0,
        vmax=largest,
        square=True,
        linewidths=0.5 if with_numbers else 0.1,
        xticklabels=False,  # seaborn would draw the figure once for each label
        yticklabels=False,
        cbar_kws={
            "label": "mistakes (% of the images of the true class)",
            "ticks": ticks[ticks <= largest],
        },
    )
    if with_numbers:
        for number in np.flatnonzero(counts.diagonal()):  # seaborn writes none where it masks
            place = (number + 0.5, number + 0.5)
            axes.annotate(str(counts[number, number]), place, ha="center", va="center")
    without_images = np.flatnonzero(counts.sum(axis=1) == 0).tolist()
    for row in without_images:
        axes.axhspan(row, row + 1, facecolor=CORRECT, edgecolor="0.5", hatch="//", linewidth=0)
    mistakes = counts.sum() - np.trace(counts)
    axes.set(
        title=f"Confusion matrix: {mistakes:,} mistakes in {counts.sum():,} test images",
        xlabel="predicted class",
        ylabel="true class (hatched: no test images)" if without_images else "true class",
    )
    centers = np.arange(classes)[::step] + 0.5
    axes.set_xticks(centers, names, rotation=90 if vertical else 0)
    axes.set_yticks(centers, names)
    axes.tick_params(labelsize=font_size)
    return figure
