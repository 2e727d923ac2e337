"""Curves of two runs over each other, laid out in the coordinates of an SVG."""

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.ticker import LogLocator, MaxNLocator

# The plot area in an SVG of 400 x 250 units; compare.html draws with the same numbers.
LEFT, RIGHT, TOP, BOTTOM = 52, 388, 12, 212
PADDING = 8  # between the plot area and the first and the last epoch
MAX_EPOCHS_WITH_MARKERS = 40  # markers of more epochs would overlap


class Curve(NamedTuple):
    """A curve: its run ("a" or "b"), the images it is about, and its points (x, y) in the SVG."""

    run: str
    images: str
    points: list[tuple[float, float]]


class Tick(NamedTuple):
    """A tick of an axis: its place in the SVG, and its label."""

    position: float
    label: str


class Chart(NamedTuple):
    """A chart of curves over the epochs; `markers` says whether each epoch has a marker."""

    title: str
    unit: str
    curves: list[Curve]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    markers: bool


def make_charts(a: pd.DataFrame, b: pd.DataFrame) -> list[Chart]:
    """Lay out the losses, on a logarithmic axis, and the validation accuracy of two histories."""
    losses = {"training": "train_loss", "validation": "validation_loss"}
    return [
        _make_chart("Loss", "cross-entropy (nats, logarithmic axis)", a, b, losses, True),
        _make_chart(
            "Validation accuracy", "share of images", a, b,
            {"validation": "validation_accuracy"}, False,
        ),
    ]  # fmt: skip


def _make_chart(
    title: str,
    unit: str,
    a: pd.DataFrame,
    b: pd.DataFrame,
    columns: dict[str, str],
    logarithmic: bool,
) -> Chart:
    tables = {"a": a, "b": b}
    values = np.concatenate(
        [table[c].to_numpy() for table in tables.values() for c in columns.values()]
    )
    epochs = np.concatenate([table["epoch"].to_numpy() for table in tables.values()])
    x_axis = _Axis(epochs.min(), epochs.max(), LEFT + PADDING, RIGHT - PADDING, False)
    if logarithmic:
        positive = values[values > 0]
        low, high = (positive.min(), positive.max()) if positive.size else (0.1, 1.0)
    else:
        low, high = values.min(), values.max()
    y_axis = _Axis(low, high, BOTTOM - PADDING, TOP + PADDING, logarithmic)
    curves = [
        Curve(
            run, images,
            list(zip(x_axis.place(table["epoch"]), y_axis.place(table[column]), strict=True)),
        )
        for run, table in tables.items()
        for images, column in columns.items()
    ]  # fmt: skip
    x_ticks = MaxNLocator(8, integer=True, min_n_ticks=1).tick_values(epochs.min(), epochs.max())
    y_ticks = _log_ticks(low, high) if logarithmic else MaxNLocator(5).tick_values(low, high)
    most = max(len(table) for table in tables.values())
    return Chart(
        title, unit, curves, x_axis.ticks(np.array(x_ticks)), y_axis.ticks(np.array(y_ticks)),
        most <= MAX_EPOCHS_WITH_MARKERS,
    )  # fmt: skip


def _log_ticks(low: float, high: float) -> np.ndarray:
    powers = np.array(LogLocator(subs=(1.0,), numticks=10).tick_values(low, high))
    if ((powers >= low) & (powers <= high)).sum() > 3:
        return powers
    return np.array(LogLocator(subs=(1.0, 2.0, 5.0), numticks=10).tick_values(low, high))


class _Axis:
    """Places values between `start` and `end`; on a logarithm's axis, 0 lies at its start."""

    def __init__(self, low: float, high: float, start: float, end: float, logarithmic: bool):
        self.low, self.high, self.start, self.end = float(low), float(high), start, end
        self.logarithmic = logarithmic

    def place(self, values: pd.Series | np.ndarray) -> list[float]:
        numbers = np.asarray(values, float)
        low, high = self.low, self.high
        if self.logarithmic:
            numbers, low, high = np.log(np.maximum(numbers, low)), math.log(low), math.log(high)
        share = (numbers - low) / (high - low) if high > low else np.full(len(numbers), 0.5)
        return [round(float(place), 1) for place in self.start + share * (self.end - self.start)]

    def ticks(self, values: np.ndarray) -> list[Tick]:
        inside = values[(values >= self.low) & (values <= self.high)]
        labels = [f"{value:.6g}" for value in inside]
        return [Tick(*tick) for tick in zip(self.place(inside), labels, strict=True)]
