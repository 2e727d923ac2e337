"""A figure of precision, recall and F1 of each class."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vit_hk.figures.colors import BLUE, GREEN, ORANGE
from vit_hk.figures.text import fit_line, lines_height, text_width

MAX_INCHES = 40.0  # width of the figure; at 0.8 inches a class, hundreds of classes exceed memory
MARGIN_INCHES = 2.2  # label of the y axis and legend
MAX_HORIZONTAL_NAMES = 30  # names of more classes do not fit side by side
MAX_HORIZONTAL_INCHES = 1.0  # wider names are written vertically
MAX_NAME_INCHES = 2.6
FONT_SIZE = 10
SPACING = 0.22  # between the scores of a class, whose distance to the next one is 1
STYLES: dict[str, dict[str, Any]] = {
    "precision": {"color": BLUE, "marker": "o", "label": "precision"},
    "recall": {"color": ORANGE, "marker": "s", "label": "recall"},
    "f1": {"color": GREEN, "marker": "D", "label": "F1"},
}


def draw_per_class(table: pd.DataFrame, class_names: list[str]) -> Figure:
    """Draw precision, recall and F1 of each class, each with its interval.

    Of hundreds of classes, only every n-th is named, as many as fit.

    Args:
      table: one row for each class; columns precision, recall and f1, and the ends of their
        intervals, for example f1_low and f1_high.
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
    # A share of no image has the interval of 0 to 1, and no point.
    drawn = {score: table[table[f"{score}_high"] - table[f"{score}_low"] < 1] for score in STYLES}
    for place, (score, style) in enumerate(STYLES.items()):
        known = drawn[score]
        share, low, high = (100 * known[name] for name in (score, f"{score}_low", f"{score}_high"))
        axes.errorbar(
            known.index.to_numpy() + SPACING * (place - 1),
            share,
            # The ends of an interval can lie inside of the score by a rounding.
            [(share - low).clip(lower=0), (high - share).clip(lower=0)],
            linestyle="none",
            **style,
        )
    lows = [low for score, known in drawn.items() for low in known[f"{score}_low"]]
    lowest = 100 * min(lows, default=0.0)
    bottom = np.floor(min(lowest - 0.1 * (100 - lowest), 99)) if lowest > 50 else 0
    axes.set(
        title="Precision, recall and F1 of each class, with intervals of 95 %",
        xlabel="class",
        ylabel="score (%)" if not bottom else f"score (%); the axis starts at {bottom:g}",
        ylim=(bottom, 100 + 0.02 * (100 - bottom)),
        xlim=(-0.6, classes - 0.4),
    )
    ticks = np.array(MaxNLocator(8).tick_values(bottom, 100))
    axes.set_yticks(ticks[(ticks >= bottom) & (ticks <= 100)])  # none above 100 %
    axes.set_xticks(range(0, classes, step), names, rotation=90 if vertical else 0)
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    axes.grid(axis="y", alpha=0.3)
    return figure
