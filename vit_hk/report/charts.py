"""Line charts over the epochs, laid out in the coordinates of an SVG."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

# The plot area in an SVG of 400 x 250 units; chart.html draws with the same numbers.
LEFT, RIGHT, TOP, BOTTOM = 52, 388, 12, 212
X_PADDING = 8  # between the plot area and the first and the last epoch
MAX_LOGARITHMIC_TICKS = 10  # three decades with 1, 2 and 5
MAX_EPOCHS_WITH_MARKERS = 40  # markers of more epochs would overlap


class Line(NamedTuple):
    """A curve: its name, and the SVG coordinates (x, y) of each epoch."""

    name: str
    points: list[tuple[float, float]]


class Tick(NamedTuple):
    """A tick of an axis: its SVG coordinate on that axis, and its label."""

    position: float
    label: str


@dataclasses.dataclass(frozen=True)
class Chart:
    """A line chart with its axes; `markers` says whether each epoch has a marker."""

    title: str
    unit: str
    lines: list[Line]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    markers: bool


def make_chart(
    title: str, unit: str, curves: dict[str, pd.Series], max_y: float = float("inf")
) -> Chart:
    """Lay out curves over the epochs; the y axis ends at a round number, or at `max_y`.

    Args:
      title: title of the chart.
      unit: what its y axis shows.
      curves: the values of each curve, indexed by the epochs; curves may differ in length.
      max_y: the largest value that the axis may show.
    """
    values = np.concatenate([curve.to_numpy() for curve in curves.values()])
    ends = float(values.min()), float(values.max())
    if ends[0] == ends[1]:
        margin = abs(ends[0]) / 10 or 1.0
        ends = max(ends[0] - margin, min(ends[0], 0.0)), ends[1] + margin
    ticks = np.array(MaxNLocator(5).tick_values(*ends))
    low, high = float(ticks[0]), min(float(ticks[-1]), max_y)

    def to_y(numbers: np.ndarray) -> list[float]:
        return _scale(numbers, low, high, BOTTOM, TOP)

    return _lay_out(title, unit, curves, ticks[ticks <= high], to_y)


def make_logarithmic_chart(title: str, unit: str, curves: dict[str, pd.Series]) -> Chart:
    """Lay out curves on a logarithmic y axis, which tells small values apart; see `make_chart`.

    Values that are not positive lie at the lower end of the axis.
    """
    values = np.concatenate([curve.to_numpy() for curve in curves.values()])
    positive = values[values > 0]
    ends = (positive.min(), positive.max()) if positive.size else (0.1, 1.0)
    ticks = _logarithmic_ticks(*ends)

    def to_y(numbers: np.ndarray) -> list[float]:
        low, high = np.log10(ticks[0]), np.log10(ticks[-1])
        return _scale(np.log10(np.maximum(numbers, ticks[0])), low, high, BOTTOM, TOP)

    return _lay_out(title, unit, curves, ticks, to_y)


def _logarithmic_ticks(low: float, high: float) -> np.ndarray:
    """Return 1, 2 and 5 times powers of 10 around an interval, or only the powers."""
    powers = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    ticks = np.outer(powers, [1.0, 2.0, 5.0]).ravel()
    first, last = ticks[ticks <= low].max(), ticks[ticks >= high].min()
    ticks = ticks[(ticks >= first) & (ticks <= last)]
    return ticks if len(ticks) <= MAX_LOGARITHMIC_TICKS else powers


def _lay_out(
    title: str,
    unit: str,
    curves: dict[str, pd.Series],
    y_values: np.ndarray,
    to_y: Callable[[np.ndarray], list[float]],
) -> Chart:
    """Lay out curves over the epochs, with ticks at `y_values`; `to_y` places values in the SVG."""
    epochs = np.concatenate([curve.index for curve in curves.values()])
    first, last = float(epochs.min()), float(epochs.max())
    x_values = np.array(MaxNLocator(8, integer=True, min_n_ticks=1).tick_values(first, last))
    x_values = x_values[(x_values >= first) & (x_values <= last)]

    def to_x(numbers: np.ndarray) -> list[float]:
        return _scale(numbers, first, last, LEFT + X_PADDING, RIGHT - X_PADDING)

    return Chart(
        title,
        unit,
        [
            Line(name, list(zip(to_x(curve.index.to_numpy()), to_y(curve.to_numpy()), strict=True)))
            for name, curve in curves.items()
        ],
        [Tick(p, f"{value:.0f}") for p, value in zip(to_x(x_values), x_values, strict=True)],
        [Tick(p, f"{value:.6g}") for p, value in zip(to_y(y_values), y_values, strict=True)],
        max(map(len, curves.values())) <= MAX_EPOCHS_WITH_MARKERS,
    )


def _scale(values: np.ndarray, low: float, high: float, start: float, end: float) -> list[float]:
    """Map the interval from `low` to `high` linearly to the one from `start` to `end`."""
    share = (values - low) / (high - low) if high > low else np.full(len(values), 0.5)
    return [round(float(position), 1) for position in start + share * (end - start)]
