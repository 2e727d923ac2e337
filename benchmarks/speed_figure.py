"""The figure of `make bench`."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vit_hk.figures.colors import BLUE

GREY = "0.65"
TASKS = {"train": "Training", "infer": "Inference"}


def draw_speed(report: dict[str, Any]) -> Figure:
    """Draw the images per second of all contenders, with a panel per size and task.

    Args:
      report: content of benchmarks/results/speed.json or speed_224.json.
    """
    machine = report["machine"]
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    figure.suptitle(
        f"Images per second on {machine['cores']} cores ({machine['processor']}, "
        f"{machine['vector_instructions']}), float32; longer bars are faster\n"
        f"Median and quartiles of {report['rounds']} interleaved rounds; "
        "in brackets, ours compared with the fastest peer\n"
        f"{report['sizes']}"
    )
    for axes, case in zip(figure.subplots(2, 2).flat, report["cases"], strict=True):
        _draw_case(axes, case)
    return figure


def format_rate(images_per_second: float) -> str:
    """Return a rate with at least two digits."""
    return f"{images_per_second:,.{0 if images_per_second >= 100 else 1}f}"


def _draw_case(axes: Axes, case: dict[str, Any]) -> None:
    """Draw a bar per contender, with its quartiles as an error bar."""
    rows = case["contenders"][::-1]  # matplotlib draws bars from the bottom up
    medians = [row["images_per_second"][1] for row in rows]
    errors = [
        [row["images_per_second"][1] - row["images_per_second"][0] for row in rows],
        [row["images_per_second"][2] - row["images_per_second"][1] for row in rows],
    ]
    colors = [BLUE if row["name"] == "ours" else GREY for row in rows]
    names = [row["name"] for row in rows]
    axes.barh(names, medians, color=colors, xerr=errors, ecolor="0.2", capsize=3)
    for position, (row, median, error) in enumerate(zip(rows, medians, errors[1], strict=True)):
        text = f" {format_rate(median)}"
        if row["name"] == case["fastest_peer"]:
            text += f"   (ours {case['speedup_over_fastest_peer'][1]:.2f} × as fast)"
        axes.text(median + error, position, text, va="center", size=9)
    axes.set(
        title=f"{TASKS[case['task']]}, size {case['size']}, batches of {case['batch_size']}",
        xlabel="images/s",
        xlim=(0, 1.7 * max(medians)),
    )
    axes.locator_params(axis="x", nbins=5)
    axes.spines[["top", "right"]].set_visible(False)
