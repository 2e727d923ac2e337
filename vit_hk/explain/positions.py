"""How alike the positional embeddings of the patches are (arXiv 2010.11929, figure 7 centre)."""

import haiku as hk
import numpy as np

from vit_hk.model.patches import sincos2d_positions
from vit_hk.params import ModelSettings


def patch_positions(
    params: hk.Params, settings: ModelSettings, grid: tuple[int, int]
) -> np.ndarray:
    """The positional embeddings of the patches, learned or fixed: [N, D], row by row."""
    if settings.position == "sincos2d":
        return sincos2d_positions(*grid, settings.hidden_size)
    return np.asarray(params["vit"]["position"])[-grid[0] * grid[1] :]  # after the class token's


def cosine_similarity(vectors: np.ndarray) -> np.ndarray:
    """Cosine of the angle between each two vectors.

    Args:
      vectors: [N, D]; a vector of zeros is like no other.

    Returns:
      [N, N], in [-1, 1].
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    units = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return np.clip(units @ units.T, -1, 1)
