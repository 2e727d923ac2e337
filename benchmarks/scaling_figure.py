"""The picture of `make scaling`."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from vit_hk.figures.colors import BLUE, ORANGE

Point = dict[str, Any]
MEMORY = "working_mib"  # from 0; the others have logarithmic scales
ROWS = {
    "images_per_second": "images/s\n(log scale)",
    "milliseconds": "a step (ms, log scale)",
    MEMORY: "memory at work (MiB)",
    "compile_seconds": "compiling (s, log scale)",
}


def draw_scaling(report: dict[str, Any]) -> Figure:
    """A column for each thing that grows; measured beside what the operations alone would cost.

    Args:
      report: as in benchmarks/results/scaling.json.
    """
    points, machine, base = report["points"], report["machine"], report["base"]
    fastest = max(point["operations_per_step"] / point["milliseconds"] for point in points)
    columns = list(dict.fromkeys(point["grows"] for point in points))
    figure = Figure(figsize=(3.2 * len(columns), 2.4 * len(ROWS)), layout="constrained")
    figure.suptitle(
        f"Training steps on {machine['cores']} cores ({machine['processor']}). Where nothing "
        f"else is said: batch {base['batch_size']}, hidden size {base['hidden_size']}, "
        f"{base['num_layers']} layers, 17 tokens"
    )
    grid = figure.subplots(len(ROWS), len(columns), sharex="col", sharey="row")
    for column, name in enumerate(columns):
        chosen = [point for point in points if point["grows"] == name]
        values = [point["value"] for point in chosen]
        for row, (key, label) in enumerate(ROWS.items()):
            axes = grid[row, column]
            axes.plot(values, [point[key] for point in chosen], "o-", color=BLUE, label="measured")
            if ideal := _ideal(key, chosen, fastest):
                axes.plot(values, ideal, "--", color=ORANGE, label=_IDEAL_LABEL)
            _scale(axes, values, linear=key == MEMORY)
            if not column:
                axes.set_ylabel(label)
        grid[-1, column].set_xlabel(name)
    grid[list(ROWS).index(MEMORY), 0].set_ylim(bottom=0)  # of the whole row, now all drawn
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return figure


_IDEAL_LABEL = "if every step did as many operations a second as the fastest of them"


def _ideal(key: str, points: list[Point], fastest: float) -> list[float]:
    """What the count of operations alone would give; nothing where it says nothing."""
    milliseconds = [point["operations_per_step"] / fastest for point in points]
    if key == "milliseconds":
        return milliseconds
    if key == "images_per_second":
        return [
            point["images_per_second"] * point["milliseconds"] / ideal
            for point, ideal in zip(points, milliseconds, strict=True)
        ]
    return []


def _scale(axes: Axes, values: list[int], linear: bool) -> None:
    """A tick at each value that was measured, and plain numbers."""
    axes.set_xscale("log")
    axes.set_xticks(values, [str(value) for value in values])
    axes.xaxis.set_minor_locator(NullLocator())
    if not linear:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.grid(alpha=0.3)
