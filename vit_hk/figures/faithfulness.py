"""A figure of deletion and insertion curves, which measure how faithful attribution maps are."""

from typing import Any, NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from vit_hk.figures.colors import BLUE, GREEN, ORANGE, PINK
from vit_hk.metrics import faithfulness_score


class MethodStyle(NamedTuple):
    """The label of an attribution method and the style of its curves."""

    label: str
    line: dict[str, Any]  # keyword arguments of matplotlib


# Name -> style. Reference orders, which do not depend on the model, are grey and not solid.
STYLES = {
    "last_layer": MethodStyle("attention of the last layer", {"color": BLUE, "marker": "o"}),
    "rollout": MethodStyle("rollout", {"color": ORANGE, "marker": "s"}),
    "gradient_rollout": MethodStyle("gradient rollout", {"color": GREEN, "marker": "^"}),
    "relevance": MethodStyle("relevance", {"color": PINK, "marker": "D"}),
    "brightness": MethodStyle("brightest patch first", {"color": "0.35", "linestyle": "--"}),
    "random": MethodStyle("random order", {"color": "0.6", "linestyle": ":"}),
}


def draw_faithfulness(table: pd.DataFrame, num_images: int) -> Figure:
    """Draw deletion and insertion curves of each method; the legend lists the best score first.

    Args:
      table: columns method, share (of the patches), deletion and insertion (probabilities).
      num_images: number of images over which the curves are averaged.
    """
    figure = Figure(figsize=(12, 4.6), layout="constrained")
    deletion, insertion, legend = figure.subplots(1, 3, width_ratios=[1, 1, 0.55])
    lines = []
    for method, style in STYLES.items():
        curve = table[table["method"] == method]
        line_style = {"markersize": 4, "linewidth": 1.8, **style.line}
        deletion.plot(100 * curve["share"], 100 * curve["deletion"], **line_style)
        (line,) = insertion.plot(100 * curve["share"], 100 * curve["insertion"], **line_style)
        columns = ("share", "deletion", "insertion")
        score = faithfulness_score(*(curve[name].to_numpy() for name in columns))
        lines.append((score, line, f"{score:+.2f}  {style.label}"))
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
