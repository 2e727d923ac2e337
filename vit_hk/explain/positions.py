"""Cosine similarity of the positional embeddings (arXiv 2010.11929, figure 7 centre)."""

import haiku as hk
import numpy as np

from vit_hk.model.positions import sincos2d_positions
from vit_hk.params import ModelSettings


def patch_positions(
    params: hk.Params, settings: ModelSettings, grid: tuple[int, int]
) -> np.ndarray:
    """Return the positional embeddings of the patches, learned or fixed.

    Args:
      params: parameters of the model; read only where the embeddings are learned.
      settings: settings of the model.
      grid: rows and columns of patches.

    Returns:
      [N, D]; the patches are in row-major order.
    """
    if settings.position == "sincos2d":
        return sincos2d_positions(*grid, settings.hidden_size)
    table = np.asarray(params["vit"]["position"])  # with "cls", the class token's row is first
    return table[-grid[0] * grid[1] :]


def cosine_similarity(vectors: np.ndarray) -> np.ndarray:
    """Return the cosine of the angle between every pair of vectors.

    Args:
      vectors: [N, D].

    Returns:
      [N, N], each in [-1, 1]; 0 in the row and column of a vector of zeros.
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    units = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return np.clip(units @ units.T, -1, 1)
