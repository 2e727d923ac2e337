"""Attention distance, in pixels (arXiv 2010.11929, figure 7 right and appendix D.7)."""

import numpy as np


def patch_distances(grid: tuple[int, int], patch_size: int) -> np.ndarray:
    """Return the distance between the centres of every pair of patches, in pixels.

    Args:
      grid: rows and columns of patches.
      patch_size: side of a patch, in pixels.

    Returns:
      Float64 [N, N]; the patches are in row-major order.

    >>> patch_distances((1, 3), patch_size=4)
    array([[0., 4., 8.],
           [4., 0., 4.],
           [8., 4., 0.]])
    """
    positions = patch_size * np.indices(grid).reshape(2, -1)
    return np.hypot(*(positions[:, :, np.newaxis] - positions[:, np.newaxis, :]))


def attention_distance(attention: np.ndarray, grid: tuple[int, int], patch_size: int) -> np.ndarray:
    """Return the mean distance between query patches and the patches they attend to, in pixels.

    The distances from a query patch to the key patches are averaged with the attention weights
    as weights, then averaged over the query patches. The class token and the registers have no
    position in the image, so they are left out, both as queries and as keys.

    Args:
      attention: [L, B, H, query T, key T]; the patches are the last tokens.
      grid: rows and columns of patches.
      patch_size: side of a patch, in pixels.

    Returns:
      [L, B, H].
    """
    distances = patch_distances(grid, patch_size)
    weights = attention[..., -len(distances) :, -len(distances) :]
    # All weights of a query patch for patches can round to 0; its distance is then 0 and not NaN.
    totals = np.maximum(weights.sum(axis=-1), np.finfo(weights.dtype).tiny)
    return ((weights * distances).sum(axis=-1) / totals).mean(axis=-1)
