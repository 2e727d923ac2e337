"""Which classes are taken for which."""

import numpy as np
import seaborn as sns
from matplotlib.figure import Figure

LARGEST = 20.0  # inches a side; at 0.62 a class, hundreds of classes would not fit into memory
MOST_NUMBERED = 30  # classes; in the cells of more a number is not legible


def draw_confusion(counts: np.ndarray, class_names: list[str]) -> Figure:
    """Confusion matrix: shares of each actual class as colour, counts as numbers.

    Args:
      counts: int [C, C], row actual, column predicted.
      class_names: C of them.
    """
    with_numbers = len(class_names) <= MOST_NUMBERED
    size = float(np.clip(0.62 * len(class_names) + 1.4, 6, LARGEST))
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
        cbar_kws={"label": "share of the actual class (%)"},
    )
    wrong = counts.sum() - np.trace(counts)
    axes.set(
        title=f"Confusion matrix: {wrong:,} mistakes in {counts.sum():,} test images",
        xlabel="predicted class",
        ylabel="actual class",
    )
    middles = np.arange(len(class_names)) + 0.5
    is_long = not with_numbers or max(map(len, class_names)) > 6
    axes.set_xticks(middles, class_names, rotation=90 if is_long else 0)
    axes.set_yticks(middles, class_names)
    axes.tick_params(labelsize=10 if with_numbers else 7)
    return figure
