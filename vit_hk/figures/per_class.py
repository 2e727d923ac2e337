"""How well each class is told from the others."""

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from vit_hk.figures.colors import BLUE, ORANGE

WIDEST = 40.0  # inches; at 0.8 a class, hundreds of classes would not fit into memory
MOST_LEVEL = 30  # classes; the names of more have no room side by side


def draw_per_class(table: pd.DataFrame) -> Figure:
    """Bars of precision and recall of each class, from the columns of per_class.csv."""
    width = float(np.clip(0.8 * len(table) + 1, 7, WIDEST))
    figure = Figure(figsize=(width, 4), layout="constrained")
    axes = figure.subplots()
    scores = table.melt("class", ["precision", "recall"], var_name="score", value_name="share")
    scores["share"] *= 100
    sns.barplot(scores, x="class", y="share", hue="score", ax=axes, palette=[BLUE, ORANGE])
    lowest = scores["share"].min()
    bottom = np.floor(min(lowest - 0.1 * (100 - lowest), 99)) if lowest > 50 else 0
    axes.set(
        title="Precision and recall of each class",
        xlabel="class",
        ylabel="%" if not bottom else f"% (the axis starts at {bottom:g})",
        ylim=(bottom, 100),
    )
    axes.tick_params(axis="x", rotation=90 if len(table) > MOST_LEVEL else 0)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    axes.grid(axis="y", alpha=0.3)
    return figure
