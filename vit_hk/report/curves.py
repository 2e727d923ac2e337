"""Curves over the epochs as an SVG needs them."""

import dataclasses
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

WIDTH, HEIGHT = 400, 250
LEFT, RIGHT, TOP, BOTTOM = 52, 388, 12, 212  # of the field, in units of the SVG
MOST_MARKED = 40  # epochs; markers of more would run together


class Line(NamedTuple):
    """A curve: its name, and x and y of each epoch in units of the SVG."""

    name: str
    points: list[tuple[float, float]]


class Tick(NamedTuple):
    """A number on an axis, and its place in units of the SVG."""

    place: float
    text: str


@dataclasses.dataclass(frozen=True)
class Chart:
    """One field with its lines and axes."""

    title: str
    unit: str
    lines: list[Line]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    marked: bool


def draw_chart(
    title: str,
    unit: str,
    epochs: pd.Series,
    curves: dict[str, pd.Series],
    highest: float = float("inf"),
) -> Chart:
    """Lay out curves over the epochs; the y axis ends at a round number, or at `highest`."""
    values = np.stack([curve.to_numpy() for curve in curves.values()])
    y_values = np.array(MaxNLocator(5).tick_values(values.min(), values.max()))
    x = _scale(epochs.to_numpy(), float(epochs.min()), float(epochs.max()), LEFT + 8, RIGHT - 8)
    low, high = float(y_values[0]), min(float(y_values[-1]), highest)
    y_values = y_values[y_values <= high]
    lines = [
        Line(name, list(zip(x, _scale(curve, low, high, BOTTOM, TOP), strict=True)))
        for name, curve in zip(curves, values, strict=True)
    ]
    x_values = MaxNLocator(8, integer=True, min_n_ticks=1).tick_values(epochs.min(), epochs.max())
    x_values = x_values[(x_values >= epochs.min()) & (x_values <= epochs.max())]
    x_places = _scale(x_values, float(epochs.min()), float(epochs.max()), LEFT + 8, RIGHT - 8)
    return Chart(
        title,
        unit,
        lines,
        [Tick(place, f"{n:.0f}") for place, n in zip(x_places, x_values, strict=True)],
        [
            Tick(place, f"{n:.6g}")
            for place, n in zip(_scale(y_values, low, high, BOTTOM, TOP), y_values, strict=True)
        ],
        len(epochs) <= MOST_MARKED,
    )


def _scale(values: np.ndarray, low: float, high: float, start: float, end: float) -> list[float]:
    share = (values - low) / (high - low) if high > low else np.full(len(values), 0.5)
    return [round(float(place), 1) for place in start + share * (end - start)]
