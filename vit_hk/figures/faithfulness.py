"""A figure of deletion and insertion curves, which measure how faithful attribution maps are."""

from typing import Any, NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

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
      table: columns method, share (of the patches), deletion and insertion (probabilities), their
        standard errors deletion_error and insertion_error, and score_error, that of the score.
      num_images: number of images over which the curves are averaged.
    """
    figure = Figure(figsize=(12, 4.6), layout="constrained")
    deletion, insertion, legend = figure.subplots(1, 3, width_ratios=[1, 1, 0.55])
    lines = []
    for method, style in STYLES.items():
        curve = table[table["method"] == method]
        line_style = {"markersize": 4, "linewidth": 1.8, **style.line}
        _draw_curve(deletion, curve, "deletion", line_style)
        line = _draw_curve(insertion, curve, "insertion", line_style)
        columns = ("share", "deletion", "insertion")
        score = faithfulness_score(*(curve[name].to_numpy() for name in columns))
        error = f" ± {curve['score_error'].iloc[0]:.3f}" if num_images > 1 else ""
        lines.append((score, line, f"{score:+z.3f}{error}  {style.label}"))
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
    images = f"mean over {num_images:,} test images" if num_images > 1 else "on one test image"
    errors = "; bands and ±: one standard error" if num_images > 1 else ""
    figure.suptitle(
        f"Faithfulness of attribution maps, {images}\n"
        f"(a deleted patch shows the mean training image{errors})"
    )
    return figure


def _draw_curve(axes: Axes, curve: pd.DataFrame, name: str, style: dict[str, Any]) -> Line2D:
    """Draw a curve in percent with a band of one standard error to both sides; return its line."""
    share, mean, error = (100 * curve[column] for column in ("share", name, f"{name}_error"))
    (line,) = axes.plot(share, mean, **style)
    band = axes.fill_between(share, mean - error, mean + error, alpha=0.25, linewidth=0)
    band.set_facecolor(line.get_color())
    return line
