"""How attention divides between class token, registers and patches."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vit_hk.figures.colors import BLUE, ORANGE, PINK

COLORS = (ORANGE, PINK, BLUE)
READERS = ("the class token", "a register", "a patch")
TARGETS = ("class token", "registers", "patches")
EVEN = "where they would meet if every token got the same"


def draw_token_shares(shares: np.ndarray, counts: np.ndarray, num_images: int) -> Figure:
    """Stacked bars for each kind of token that looks; dashed where even attention would end.

    Args:
      shares: [L, 3, 3], share of the attention from class token, registers, patches to these.
      counts: int [3], how many tokens of each kind the model has.
      num_images: that the shares are means of.
    """
    kinds = np.flatnonzero(counts)
    even = 100 * np.cumsum(counts[kinds])[:-1] / counts.sum()
    layers = np.arange(1, len(shares) + 1)
    figure = Figure(figsize=(max(6.5, 3.6 * len(kinds) + 0.5), 4.4), layout="constrained")
    panels = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
    for axes, reader in zip(panels, kinds, strict=True):
        bottom = np.zeros(len(layers))
        for target in kinds:
            heights = 100 * shares[:, reader, target]
            axes.bar(layers, heights, bottom=bottom, color=COLORS[target], label=TARGETS[target])
            bottom += heights
        for boundary in even:
            axes.axhline(boundary, color="black", linestyle="--", label=EVEN)
        axes.set(title=f"where {READERS[reader]} looks", xlabel="layer", ylim=(0, 100))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    panels[0].set_ylabel("share of the attention (%)")
    handles, labels = panels[0].get_legend_handles_labels()
    legend = dict(zip(labels, handles, strict=True))  # one entry for all dashed lines
    figure.legend(
        legend.values(), legend.keys(), loc="outside lower center", ncols=4, frameon=False
    )
    figure.suptitle(f"What attention goes to; mean over heads and {num_images:,} test images")
    return figure
