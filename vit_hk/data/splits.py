"""Stratified splits of a data set."""

import numpy as np


def stratified_split(
    labels: np.ndarray, fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Split indices into a kept and a held-out part with the same share of each class.

    Of a class with two or more images at least one is held out and at least one kept; the only
    image of a class is kept.

    Args:
      labels: integers [images].
      fraction: share of each class to hold out, in (0, 1).
      seed: the same seed gives the same split.

    Returns:
      Indices (kept, held out), both sorted, which together are 0 … images - 1.

    >>> kept, held_out = stratified_split(np.array([0, 0, 0, 0, 1, 1, 1, 1]), 0.25, seed=0)
    >>> len(kept), len(held_out)
    (6, 2)
    """
    rng = np.random.default_rng(seed)
    parts = []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        count = max(1, round(fraction * members.size))
        parts.append(members[: min(count, members.size - 1)])
    held_out = np.sort(np.concatenate(parts))
    is_kept = np.ones(labels.size, bool)
    is_kept[held_out] = False
    return np.flatnonzero(is_kept), held_out
