"""One number a head, layer by layer."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vit_hk.figures.colors import BLUE, ORANGE


def draw_by_layer(
    values: np.ndarray, title: str, unit: str, references: dict[str, float]
) -> Figure:
    """A dot for each head, a line through the means of the layers.

    Args:
      values: [L, H].
      title: what is measured.
      unit: of the values; label of their axis.
      references: values to compare with, drawn as dashed lines, by their names.
    """
    layers = np.arange(1, len(values) + 1)
    figure = Figure(figsize=(7.5, 4.4), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots()
    of_heads = np.repeat(layers, values.shape[1])
    axes.plot(of_heads, values.ravel(), "o", color=BLUE, alpha=0.6, label="a head")
    axes.plot(layers, values.mean(axis=1), "-", color=ORANGE, linewidth=2, label="mean of a layer")
    for (name, value), shade in zip(references.items(), ("0.2", "0.6"), strict=False):
        axes.axhline(value, color=shade, linestyle="--", label=f"{name}: {value:.2f}")
    axes.set(xlabel="layer (1 is next to the image)", ylabel=unit)
    axes.set_ylim(0, 1.08 * max(values.max(), *references.values()) or 1.0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2 + len(references), frameon=False)
    return figure
