"""A figure of one number for each head, layer by layer."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vit_hk.figures.colors import BLUE, ORANGE


def draw_by_layer(
    values: np.ndarray, title: str, unit: str, reference_name: str, reference: float
) -> Figure:
    """Draw a dot for each head and a line through the mean of each layer.

    Args:
      values: [L, H].
      title: name of the quantity.
      unit: quantity and unit, as the label of the y axis.
      reference_name: the name of a value to compare with.
      reference: that value, drawn as a dashed horizontal line.
    """
    layers = np.arange(1, len(values) + 1)
    layer_of_head = np.repeat(layers, values.shape[1])
    figure = Figure(figsize=(7.5, 4.4), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots()
    axes.plot(layer_of_head, values.ravel(), "o", color=BLUE, alpha=0.6, label="one head")
    mean = "-" if len(layers) > 1 else "D"  # a line through one point would not be seen
    axes.plot(layers, values.mean(axis=1), mean, color=ORANGE, linewidth=2, label="mean over heads")
    label = f"{reference_name}: {reference:.2f}"
    axes.axhline(reference, color="0.2", linestyle="--", label=label)
    axes.set(xlabel="layer (1 is the first block)", ylabel=unit)
    axes.set_ylim(0, 1.08 * max(values.max(), reference) or 1.0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure
