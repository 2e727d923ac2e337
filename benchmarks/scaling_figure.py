"""The figure of `make scaling`."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from vit_hk.figures.colors import BLUE, ORANGE

Point = dict[str, Any]
MEMORY = "working_mib"  # has a linear scale that starts at 0; the others have logarithmic scales
ROWS = {
    "images_per_second": "images/s\n(log scale)",
    "milliseconds": "step time (ms, log scale)",
    MEMORY: "peak memory (MiB)",
    "compile_seconds": "compile time (s, log scale)",
}
NUM_GROWING = 4  # the first sweeps, in which cost grows; the others compare shapes of similar cost
IDEAL_LABEL = "if every step reached the highest GFLOP/s of all of them"


def draw_scaling(report: dict[str, Any]) -> Figure:
    """Draw a column per sweep: the measurements, and what the FLOPs alone would cost.

    Args:
      report: content of benchmarks/results/scaling.json.
    """
    points, machine, base = report["points"], report["machine"], report["base"]
    max_rate = max(point["flops_per_step"] / point["milliseconds"] for point in points)
    names = list(dict.fromkeys(point["sweep"] for point in points))
    figure = Figure(figsize=(3.2 * NUM_GROWING, 2.4 * (len(ROWS) + 1.3)), layout="constrained")
    figure.suptitle(
        f"Training steps on {machine['cores']} cores ({machine['processor']}). Unless stated "
        f"otherwise: batch size {base['batch_size']}, hidden size {base['hidden_size']}, "
        f"{base['num_layers']} layers, 17 tokens"
    )
    upper, lower = figure.subfigures(2, height_ratios=[len(ROWS), 1.2])
    _draw_growth(upper, names[:NUM_GROWING], points, max_rate)
    _draw_shapes(lower, names[NUM_GROWING:], points, max_rate)
    handles, labels = upper.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return figure


def _draw_growth(figure: SubFigure, names: list[str], points: list[Point], max_rate: float) -> None:
    """Draw each measurement against the value that grows; the axes of a row share their limits."""
    grid = figure.subplots(len(ROWS), len(names), sharex="col", sharey="row", squeeze=False)
    for column, name in enumerate(names):
        sweep = [point for point in points if point["sweep"] == name]
        values = [point["value"] for point in sweep]
        for row, (key, label) in enumerate(ROWS.items()):
            axes = grid[row, column]
            axes.plot(values, [point[key] for point in sweep], "o-", color=BLUE, label="measured")
            if ideal := _ideal(key, sweep, max_rate):
                axes.plot(values, ideal, "--", color=ORANGE, label=IDEAL_LABEL)
            _set_scales(axes, values, linear=key == MEMORY)
            if not column:
                axes.set_ylabel(label)
        grid[-1, column].set_xlabel(name)
    grid[list(ROWS).index(MEMORY), 0].set_ylim(0, 1.1 * max(point[MEMORY] for point in points))


def _draw_shapes(figure: SubFigure, names: list[str], points: list[Point], max_rate: float) -> None:
    """Draw step times relative to the dashed line; the shapes stand at equal distances."""
    (grid,) = figure.subplots(1, len(names), sharey=True, squeeze=False)
    highest = 1.0
    for axes, name in zip(grid, names, strict=True):
        sweep = [point for point in points if point["sweep"] == name]
        ideal = _ideal("milliseconds", sweep, max_rate)
        ratios = [point["milliseconds"] / x for point, x in zip(sweep, ideal, strict=True)]
        axes.plot(range(len(sweep)), ratios, "o-", color=BLUE)
        highest = max(highest, *ratios)
        axes.axhline(1, linestyle="--", color=ORANGE)
        axes.set_xticks(range(len(sweep)), [str(point["value"]) for point in sweep])
        axes.grid(alpha=0.3)
        axes.set_xlabel(name)
    grid[0].set_ylim(0, 1.1 * highest)
    grid[0].set_ylabel("step time relative\nto the dashed line")


def _ideal(key: str, points: list[Point], max_rate: float) -> list[float]:
    """Return the values at the highest rate, in FLOPs per millisecond; none for other keys."""
    milliseconds = [point["flops_per_step"] / max_rate for point in points]
    if key == "milliseconds":
        return milliseconds
    if key == "images_per_second":
        return [
            point["images_per_second"] * point["milliseconds"] / ideal
            for point, ideal in zip(points, milliseconds, strict=True)
        ]
    return []


def _set_scales(axes: Axes, values: list[int], linear: bool) -> None:
    """Set logarithmic scales with plain numbers, and a tick at each measured value."""
    axes.set_xscale("log")
    axes.set_xticks(values, [str(value) for value in values], rotation=90)
    axes.xaxis.set_minor_locator(NullLocator())
    if not linear:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.7g}"))
    axes.grid(alpha=0.3)
