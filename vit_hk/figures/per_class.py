"""A figure of precision and recall of each class."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from vit_hk.figures.colors import BLUE, ORANGE
from vit_hk.figures.text import fit_line, lines_height, text_width

MAX_INCHES = 40.0  # width of the figure; at 0.8 inches a class, hundreds of classes exceed memory
MARGIN_INCHES = 2.2  # label of the y axis and legend
MAX_HORIZONTAL_NAMES = 30  # names of more classes do not fit side by side
MAX_HORIZONTAL_INCHES = 1.0  # wider names are written vertically
MAX_NAME_INCHES = 2.6
FONT_SIZE = 10


def draw_per_class(table: pd.DataFrame, class_names: list[str]) -> Figure:
    """Draw bars of the precision and the recall of each class.

    Of hundreds of classes, only every n-th is named, as many as fit.

    Args:
      table: one row for each class; columns precision and recall.
      class_names: C names, in the order of the rows.
    """
    classes = len(table)
    width = float(np.clip(0.8 * classes + 1, 7, MAX_INCHES))
    step = max(1, int(np.ceil(lines_height(classes, FONT_SIZE) / (width - MARGIN_INCHES))))
    names = [fit_line(name, MAX_NAME_INCHES, FONT_SIZE) for name in class_names[::step]]
    widest = max(text_width(name, FONT_SIZE) for name in names)
    vertical = classes > MAX_HORIZONTAL_NAMES or widest > MAX_HORIZONTAL_INCHES
    if not vertical:
        width = max(width, classes * (widest + 0.1) + MARGIN_INCHES)
    figure = Figure(figsize=(width, 4 + (widest if vertical else 0)), layout="constrained")
    axes = figure.subplots()
    scores = table.assign(number=range(classes)).melt(
        "number", ["precision", "recall"], var_name="score", value_name="share"
    )
    scores["share"] *= 100
    sns.barplot(scores, x="number", y="share", hue="score", ax=axes, palette=[BLUE, ORANGE])
    lowest = scores["share"].min()
    bottom = np.floor(min(lowest - 0.1 * (100 - lowest), 99)) if lowest > 50 else 0
    axes.set(
        title="Precision and recall of each class",
        xlabel="class",
        ylabel="score (%)" if not bottom else f"score (%); the axis starts at {bottom:g}",
        ylim=(bottom, 100),
    )
    axes.set_xticks(range(0, classes, step), names, rotation=90 if vertical else 0)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    axes.grid(axis="y", alpha=0.3)
    return figure
