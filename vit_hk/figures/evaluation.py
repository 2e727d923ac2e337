"""What the model gets right and wrong on the test images."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from vit_hk.figures.images import displayable


def draw_confusion(counts: np.ndarray, class_names: list[str]) -> Figure:
    """Confusion matrix: shares of each actual class as colour, counts as numbers.

    Args:
      counts: int [C, C], row actual, column predicted.
      class_names: C of them.
    """
    size = max(6.0, 0.62 * len(class_names) + 1.4)
    figure = Figure(figsize=(size + 1, size), layout="constrained")
    axes = figure.subplots()
    shares = 100 * counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    sns.heatmap(
        shares,
        ax=axes,
        annot=np.where(counts > 0, counts.astype(str), ""),
        fmt="",
        cmap="Blues",
        vmin=0,
        vmax=100,
        square=True,
        linewidths=0.5,
        xticklabels=class_names,
        yticklabels=class_names,
        cbar_kws={"label": "share of the actual class (%)"},
    )
    wrong = counts.sum() - np.trace(counts)
    axes.set(
        title=f"Confusion matrix: {wrong:,} mistakes in {counts.sum():,} test images",
        xlabel="predicted class",
        ylabel="actual class",
    )
    axes.tick_params(axis="y", rotation=0)
    return figure


def draw_per_class(table: pd.DataFrame) -> Figure:
    """Bars of precision and recall of each class, from the columns of per_class.csv."""
    figure = Figure(figsize=(max(7.0, 0.8 * len(table) + 1), 4), layout="constrained")
    axes = figure.subplots()
    scores = table.melt("class", ["precision", "recall"], var_name="score", value_name="share")
    scores["share"] *= 100
    sns.barplot(scores, x="class", y="share", hue="score", ax=axes, palette=["#0173b2", "#de8f05"])
    lowest = scores["share"].min()
    bottom = np.floor(lowest - 0.1 * (100 - lowest)) if lowest > 50 else 0
    axes.set(
        title="Precision and recall of each class",
        xlabel="class",
        ylabel="%" if not bottom else f"% (the axis starts at {bottom:g})",
        ylim=(bottom, 100),
    )
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    axes.grid(axis="y", alpha=0.3)
    return figure


def draw_mistakes(
    images: np.ndarray,
    *,
    actual: list[str],
    predicted: list[str],
    confidence: np.ndarray,
    indices: np.ndarray,
) -> Figure:
    """The most confident mistakes, each with both classes.

    Args:
      images: uint8 [N, height, width, channels].
      actual: N class names.
      predicted: N class names.
      confidence: [N], probability of the predicted class.
      indices: int [N], numbers of the images in the test set.
    """
    columns = 6
    rows = max(1, -(-len(images) // columns))
    figure = Figure(figsize=(1.75 * columns, 2.15 * rows + 0.6), layout="constrained")
    figure.suptitle(
        "The most confident mistakes on test images"
        if len(images)
        else "No mistakes on the test images"
    )
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.axis("off")
    for axes, image, label, guess, sure, index in zip(
        grid, images, actual, predicted, confidence, indices, strict=False
    ):
        axes.imshow(displayable(image))
        title = f"is {label}, predicted {guess}\n{100 * sure:.0f} % sure · test image {index}"
        axes.set_title(title, fontsize=8)
    return figure
