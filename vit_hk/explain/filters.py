"""Principal components of the patch-embedding filters (arXiv 2010.11929, figure 7 left)."""

import numpy as np


def principal_filters(
    weights: np.ndarray, patch_size: int, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the first principal components of the D filters of the patch embedding.

    Args:
      weights: [P * P * channels, D]; each column is a filter, flattened as (row, column, channel).
      patch_size: P, side of a patch, in pixels.
      count: number of components; there are at most min(P * P * channels, D).

    Returns:
      Components [at most count, P, P, channels] of length 1, in the order of the variance that they
      explain, and the share of the variance that each explains, [at most count]. The sign of a
      component is arbitrary; here its element of the largest magnitude is positive.
    """
    filters = weights.T.astype(np.float64)  # [D, P * P * channels]
    _, scales, components = np.linalg.svd(filters - filters.mean(axis=0), full_matrices=False)
    largest = np.abs(components).argmax(axis=1)
    components *= np.sign(components[np.arange(len(components)), largest])[:, np.newaxis]
    variance = scales**2
    shares = np.divide(variance, variance.sum(), out=np.zeros_like(scales), where=variance > 0)
    images = components.reshape(len(components), patch_size, patch_size, -1)
    return images[:count], shares[:count]
