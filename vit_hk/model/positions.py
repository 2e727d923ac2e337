"""Fixed positional embeddings; learned ones are a parameter of the ViT."""

import numpy as np


def sincos2d_positions(rows: int, columns: int, hidden_size: int) -> np.ndarray:
    """Return fixed positional embeddings: sines and cosines of a patch's row and column.

    The frequencies are 10000^(-i / (D/4)), i = 0 … D/4 - 1, as in MoCo v3 (arXiv 2104.02057,
    appendix); Beyer et al. (arXiv 2205.01580) divide i by D/4 - 1 instead.

    Args:
      rows: rows of patches.
      columns: columns of patches.
      hidden_size: D, a multiple of 4.

    Returns:
      float32 [N, D]: sin(column), cos(column), sin(row), cos(row), D/4 of each.
    """
    quarter = hidden_size // 4
    frequency = 10000.0 ** (-np.arange(quarter) / quarter)
    row, column = np.mgrid[:rows, :columns].reshape(2, -1, 1) * frequency  # each [N, D/4]
    parts = [np.sin(column), np.cos(column), np.sin(row), np.cos(row)]
    return np.concatenate(parts, axis=1).astype(np.float32)
