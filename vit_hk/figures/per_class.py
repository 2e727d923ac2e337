"""A figure of precision and recall of each class."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from vit_hk.figures.class_names import shorten_class_name
from vit_hk.figures.colors import BLUE, ORANGE

MAX_INCHES = 40.0  # width of the figure; at 0.8 inches a class, hundreds of classes exceed memory
MAX_HORIZONTAL_NAMES = 30  # names of more classes do not fit side by side
MAX_HORIZONTAL_LENGTH = 11  # longer names, in characters, do not fit side by side


def draw_per_class(table: pd.DataFrame) -> Figure:
    """Draw bars of the precision and the recall of each class.

    Args:
      table: one row for each class; columns class, precision and recall.
    """
    width = float(np.clip(0.8 * len(table) + 1, 7, MAX_INCHES))
    names = [shorten_class_name(name) for name in table["class"]]
    longest = max(map(len, names))
    vertical = len(names) > MAX_HORIZONTAL_NAMES or longest > MAX_HORIZONTAL_LENGTH
    height = 4 + (0.08 * longest if vertical else 0)  # inches
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    scores = table.melt("class", ["precision", "recall"], var_name="score", value_name="share")
    scores["share"] *= 100
    sns.barplot(scores, x="class", y="share", hue="score", ax=axes, palette=[BLUE, ORANGE])
    lowest = scores["share"].min()
    bottom = np.floor(min(lowest - 0.1 * (100 - lowest), 99)) if lowest > 50 else 0
    axes.set(
        title="Precision and recall of each class",
        xlabel="class",
        ylabel="score (%)" if not bottom else f"score (%); the axis starts at {bottom:g}",
        ylim=(bottom, 100),
    )
    axes.set_xticks(range(len(names)), names, rotation=90 if vertical else 0)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    axes.grid(axis="y", alpha=0.3)
    return figure
