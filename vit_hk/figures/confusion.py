"""A figure of the confusion matrix."""

import numpy as np
import seaborn as sns
from matplotlib.figure import Figure

from vit_hk.figures.text import fit_line, lines_height, text_width

INCHES_PER_CLASS = 0.62
MAX_INCHES = 20.0  # side without long names; hundreds of classes would exceed memory otherwise
MAX_NUMBERED_CLASSES = 30  # with more classes the cells are too small for a legible number
MAX_NAME_INCHES = 2.6
SHORT_NAME_INCHES = 0.9  # the side above has room for names of this width


def draw_confusion(counts: np.ndarray, class_names: list[str]) -> Figure:
    """Draw the confusion matrix: colours show the share of each true class, numbers the counts.

    Of hundreds of classes, only every n-th is named, as many as fit.

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
    shares = 100 * counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    sns.heatmap(
        shares,
        ax=axes,
        annot=np.where(counts > 0, counts.astype(str), "") if with_numbers else False,
        fmt="",
        cmap="Blues",
        vmin=0,
        vmax=100,
        square=True,
        linewidths=0.5 if with_numbers else 0.1,
        xticklabels=False,  # seaborn would draw the figure once for each label
        yticklabels=False,
        cbar_kws={"label": "share of the images of the true class (%)"},
    )
    mistakes = counts.sum() - np.trace(counts)
    axes.set(
        title=f"Confusion matrix: {mistakes:,} mistakes in {counts.sum():,} test images",
        xlabel="predicted class",
        ylabel="true class",
    )
    centers = np.arange(classes)[::step] + 0.5
    axes.set_xticks(centers, names, rotation=90 if vertical else 0)
    axes.set_yticks(centers, names)
    axes.tick_params(labelsize=font_size)
    return figure
