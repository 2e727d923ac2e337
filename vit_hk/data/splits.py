"""Stratified splits of a data set."""

import numpy as np


def stratified_split(
    labels: np.ndarray, fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Split indices into a kept and a held-out part with the same share of each class.

    Args:
      labels: integers [N].
      fraction: share of each class to hold out, in (0, 1); at least one image of each class is
        held out.
      seed: the same seed gives the same split.

    Returns:
      Indices (kept, held out), both sorted, which together are 0 … N - 1.

    >>> kept, held_out = stratified_split(np.array([0, 0, 0, 0, 1, 1, 1, 1]), 0.25, seed=0)
    >>> len(kept), len(held_out)
    (6, 2)
    """
    random = np.random.default_rng(seed)
    parts = []
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        parts.append(members[: max(1, round(fraction * members.size))])
    held_out = np.sort(np.concatenate(parts))
    return np.setdiff1d(np.arange(labels.size), held_out, assume_unique=True), held_out
