"""How far attention reaches (arXiv 2010.11929, figure 7 right and appendix D.7)."""

import numpy as np


def patch_distances(grid: tuple[int, int], patch_size: int) -> np.ndarray:
    """Distance between the centres of each two patches, in pixels.

    Args:
      grid: rows and columns of patches.
      patch_size: in pixels.

    Returns:
      Float64 [N, N], patches row by row.
    """
    places = patch_size * np.indices(grid).reshape(2, -1)
    return np.hypot(*(places[:, :, np.newaxis] - places[:, np.newaxis, :]))


def attention_distance(attention: np.ndarray, grid: tuple[int, int], patch_size: int) -> np.ndarray:
    """Mean distance between a patch and the patches that it looks at, in pixels.

    Weighted by the attention among patches, and averaged over the patches that look. Class
    token and registers have no place, so what they give and get does not count.

    Args:
      attention: [L, B, H, query T, key T]; the patches are the last tokens.
      grid: rows and columns of patches.
      patch_size: in pixels.

    Returns:
      [L, B, H].
    """
    distances = patch_distances(grid, patch_size)
    weights = attention[..., -len(distances) :, -len(distances) :]
    looked = np.maximum(weights.sum(axis=-1), np.finfo(weights.dtype).tiny)  # may round to 0
    return ((weights * distances).sum(axis=-1) / looked).mean(axis=-1)
