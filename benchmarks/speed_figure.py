"""The picture of `make bench`."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vit_hk.figures.colors import BLUE

GREY = "0.65"
TASKS = {"train": "Training", "infer": "Inference"}


def draw_speed(report: dict[str, Any]) -> Figure:
    """Images a second of all contenders, a panel a size and task.

    Args:
      report: as in benchmarks/results/speed.json.
    """
    machine = report["machine"]
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    figure.suptitle(
        f"Images a second on {machine['cores']} cores ({machine['processor']}, "
        f"{machine['vector_instructions']}), float32: longer is faster\n"
        f"median and quartiles of {report['rounds']} interleaved rounds; "
        "in brackets ours next to the fastest peer\n"
        "S: 6 layers of 64, 17 tokens; M: 6 layers of 128, 50 tokens"
    )
    for axes, case in zip(figure.subplots(2, 2).flat, report["cases"], strict=True):
        _draw_case(axes, case)
    return figure


def _draw_case(axes: Axes, case: dict[str, Any]) -> None:
    rows = case["contenders"][::-1]  # bars go upwards
    medians = [row["images_per_second"][1] for row in rows]
    spread = [
        [row["images_per_second"][1] - row["images_per_second"][0] for row in rows],
        [row["images_per_second"][2] - row["images_per_second"][1] for row in rows],
    ]
    colors = [BLUE if row["name"] == "ours" else GREY for row in rows]
    names = [row["name"] for row in rows]
    axes.barh(names, medians, color=colors, xerr=spread, ecolor="0.2", capsize=3)
    for place, (row, median, above) in enumerate(zip(rows, medians, spread[1], strict=True)):
        text = f" {median:,.0f}"
        if row["name"] == case["fastest_peer"]:
            text += f"   (ours {case['times_as_fast_as_it'][1]:.2f}× as fast)"
        axes.text(median + above, place, text, va="center", size=9)
    axes.set(
        title=f"{TASKS[case['task']]}, size {case['size']}, batches of {case['batch_size']}",
        xlabel="images/s",
        xlim=(0, 1.7 * max(medians)),
    )
    axes.locator_params(axis="x", nbins=5)
    axes.spines[["top", "right"]].set_visible(False)
