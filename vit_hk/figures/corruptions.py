"""A figure of the accuracy on corrupted images, with an example of each corruption."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vit_hk.data.corruptions import CORRUPTIONS
from vit_hk.figures.colors import BLUE, GREEN, ORANGE, PINK, RED, SKY
from vit_hk.figures.images import to_rgb

# Colour and marker of each corruption.
STYLES = {
    "gaussian_noise": (BLUE, "o"),
    "impulse_noise": (SKY, "s"),
    "gaussian_blur": (GREEN, "^"),
    "brightness": (ORANGE, "D"),
    "translate": (PINK, "v"),
    "thicken": (RED, "P"),
    "thin": ("0.35", "X"),
}


def draw_corruptions(table: pd.DataFrame, examples: np.ndarray) -> Figure:
    """Draw the accuracy against the severity, a line for each corruption, and what they do.

    Args:
      table: what `vit_hk.robustness.measure_corruptions` returns.
      examples: uint8 [corruptions, severities, height, width, channels], one image with each
        corruption in each severity, from 0, in the order of the table.
    """
    num_rows, num_columns = examples.shape[:2]
    figure = Figure(figsize=(12, max(4.6, 1.5 + 0.86 * num_rows)), layout="constrained")
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=[1.05, 1])[0]
    _draw_lines(left.subplots(), table)
    grid = right.subplots(num_rows, num_columns, squeeze=False)
    rows = table.groupby("corruption", sort=False)
    for axes_of_row, (name, rows_of_name), images in zip(grid, rows, examples, strict=True):
        _draw_row(axes_of_row, str(name), rows_of_name, images)
    for severity, axes in enumerate(grid[0]):
        axes.set_title(f"severity {severity}" if severity else "as it is", fontsize=9)
    mean, count = table[table["severity"] > 0]["accuracy"].mean(), int(table["examples"].iloc[0])
    images = f"{count:,} images" if count > 1 else "1 image"
    figure.suptitle(
        f"Accuracy on corrupted test images: {100 * mean:.1f} % in the mean (of {images})"
    )
    return figure


def _draw_lines(axes: Axes, table: pd.DataFrame) -> None:
    entries = []
    for name, rows in table.groupby("corruption", sort=False):
        color, marker = STYLES[str(name)]
        accuracy, error = 100 * rows["accuracy"], 100 * rows["standard_error"]
        (line,) = axes.plot(rows["severity"], accuracy, color=color, marker=marker, linewidth=1.8)
        axes.fill_between(
            rows["severity"], accuracy - error, accuracy + error, color=color, alpha=0.25, lw=0
        )
        mean = accuracy[rows["severity"] > 0].mean()
        entries.append((mean, line, f"{mean:.1f} %  {CORRUPTIONS[str(name)].label}"))
    entries.sort(key=lambda entry: -entry[0])
    axes.legend(
        [line for _, line, _ in entries], [label for _, _, label in entries],
        title="mean of the severities:", alignment="left", loc="best",
    )  # fmt: skip
    axes.set(xlabel="severity (0: images as they are)", ylabel="accuracy (%)", ylim=(0, 102))
    axes.set_xticks(sorted(set(table["severity"])))
    axes.grid(alpha=0.3)


def _draw_row(grid: np.ndarray, name: str, rows: pd.DataFrame, images: np.ndarray) -> None:
    color, _ = STYLES[name]
    for axes, row, image in zip(grid, rows.itertuples(), images, strict=True):
        axes.imshow(to_rgb(image), interpolation="nearest")  # smooth images take twice the bytes
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set(color=color, linewidth=1.8)
        if row.severity:
            axes.set_xlabel(f"{row.strength:.3g} {row.unit}", fontsize=8, labelpad=2)
    corruption = CORRUPTIONS[name]
    grid[0].set_ylabel(
        f"{corruption.label}\n({corruption.measure})", fontsize=9, rotation="horizontal",
        horizontalalignment="right", verticalalignment="center",
    )  # fmt: skip
