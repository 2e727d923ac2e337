"""A figure of deletion and insertion curves, which measure how faithful attribution maps are."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from vit_hk.figures.colors import BLUE, GREEN, ORANGE, PINK

# Reference orders, which do not depend on the model, are grey and not solid.
STYLES: dict[str, dict[str, Any]] = {
    "last_layer": {"color": BLUE, "marker": "o"},
    "rollout": {"color": ORANGE, "marker": "s"},
    "gradient_rollout": {"color": GREEN, "marker": "^"},
    "relevance": {"color": PINK, "marker": "D"},
    "brightness": {"color": "0.35", "linestyle": "--"},
    "random": {"color": "0.6", "linestyle": ":"},
}
LABELS = {
    "last_layer": "attention of the last layer",
    "rollout": "rollout",
    "gradient_rollout": "gradient rollout",
    "relevance": "relevance",
    "brightness": "brightest patch first",
    "random": "random order",
}


def draw_faithfulness(table: pd.DataFrame, num_images: int) -> Figure:
    """Draw deletion and insertion curves of each method; the legend lists the best score first.

    The score is the area under the insertion curve minus the area under the deletion curve.

    Args:
      table: columns method, share (of the patches), deletion and insertion (probabilities).
      num_images: number of images that each curve is the mean of.
    """
    figure = Figure(figsize=(12, 4.6), layout="constrained")
    deletion, insertion, legend = figure.subplots(1, 3, width_ratios=[1, 1, 0.55])
    lines = []
    for method, style in STYLES.items():
        curve = table[table["method"] == method]
        style = {"markersize": 4, "linewidth": 1.8, **style}
        deletion.plot(100 * curve["share"], 100 * curve["deletion"], **style)
        (line,) = insertion.plot(100 * curve["share"], 100 * curve["insertion"], **style)
        score = np.trapezoid(curve["insertion"] - curve["deletion"], curve["share"])
        lines.append((score, line, f"{score:+.2f}  {LABELS[method]}"))
    deletion.set(
        title="Deletion (lower is better)",
        xlabel="patches deleted, most important first (%)",
        ylabel="probability of the predicted class (%)",
    )
    insertion.set(
        title="Insertion (higher is better)",
        xlabel="patches inserted, most important first (%)",
    )
    for axes in (deletion, insertion):
        axes.set(xlim=(0, 100), ylim=(0, 102))
        axes.grid(alpha=0.3)
    lines.sort(key=lambda entry: -entry[0])
    legend.axis("off")
    legend.legend(
        [line for _, line, _ in lines], [label for _, _, label in lines],
        title="area under insertion\nminus area under deletion:", alignment="left",
        loc="upper left", bbox_to_anchor=(-0.1, 1), frameon=False,
    )  # fmt: skip
    figure.suptitle(
        f"Faithfulness of attribution maps, mean over {num_images:,} test images\n"
        "(a deleted patch shows the mean training image)"
    )
    return figure
