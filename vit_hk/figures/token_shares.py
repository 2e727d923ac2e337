"""A figure of the attention to class token, registers and patches, layer by layer."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vit_hk.figures.colors import BLUE, ORANGE, PINK

COLORS = (ORANGE, PINK, BLUE)
QUERIES = ("the class token", "a register", "a patch")
KINDS = ("class token", "registers", "patches")


def draw_token_shares(shares: np.ndarray, counts: np.ndarray, num_images: int) -> Figure:
    """Draw stacked bars for each kind of query token; dashed lines show uniform attention.

    Args:
      shares: [L, query kind, key kind], attention from each of KINDS to each of KINDS; each row
        sums to 1.
      counts: int [kinds], number of tokens of each kind.
      num_images: number of images over which the shares are averaged.
    """
    kinds = np.flatnonzero(counts)
    boundaries = 100 * np.cumsum(counts[kinds])[:-1] / counts.sum()
    layers = np.arange(1, len(shares) + 1)
    figure = Figure(figsize=(max(6.5, 3.6 * len(kinds) + 0.5), 4.4), layout="constrained")
    panels = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
    for axes, query in zip(panels, kinds, strict=True):
        bottom = np.zeros(len(layers))
        for key in kinds:
            heights = 100 * shares[:, query, key]
            axes.bar(layers, heights, bottom=bottom, color=COLORS[key], label=KINDS[key])
            bottom += heights
        for boundary in boundaries:
            label = "uniform attention over all tokens"
            axes.axhline(boundary, color="black", linestyle="--", label=label)
        axes.set(title=f"query: {QUERIES[query]}", xlabel="layer", ylim=(0, 100))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    panels[0].set_ylabel("attention to each kind of key token (%)")
    handles, labels = panels[0].get_legend_handles_labels()
    legend = dict(zip(labels, handles, strict=True))  # a single entry for all dashed lines
    figure.legend(
        legend.values(), legend.keys(), loc="outside lower center", ncols=4, frameon=False
    )
    figure.suptitle(f"Attention by kind of token, mean over heads and {num_images:,} test images")
    return figure
