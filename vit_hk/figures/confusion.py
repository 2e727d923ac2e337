"""A figure of the confusion matrix."""

import numpy as np
import seaborn as sns
from matplotlib.figure import Figure

from vit_hk.figures.class_names import shorten_class_name

MAX_INCHES = 20.0  # side of the figure; at 0.62 inches a class, hundreds of classes exceed memory
MAX_NUMBERED_CLASSES = 30  # with more classes the cells are too small for a legible number


def draw_confusion(counts: np.ndarray, class_names: list[str]) -> Figure:
    """Draw the confusion matrix: colours show the share of each true class, numbers the counts.

    Args:
      counts: int [C, C]; rows are true classes, columns predicted classes.
      class_names: C names.
    """
    names = [shorten_class_name(name) for name in class_names]
    with_numbers = len(class_names) <= MAX_NUMBERED_CLASSES
    size = float(np.clip(0.62 * len(class_names) + 1.4, 6, MAX_INCHES))
    figure = Figure(figsize=(size + 1, size), layout="constrained")
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
    centers = np.arange(len(class_names)) + 0.5
    long_names = not with_numbers or max(map(len, names)) > 6
    axes.set_xticks(centers, names, rotation=90 if long_names else 0)
    axes.set_yticks(centers, names)
    axes.tick_params(labelsize=10 if with_numbers else 7)
    return figure
