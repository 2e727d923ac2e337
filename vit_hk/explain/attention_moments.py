"""What the attention maps of many images have in common."""

import dataclasses
from pathlib import Path

import numpy as np

from vit_hk.atomic import replacing


@dataclasses.dataclass(frozen=True)
class AttentionMoments:
    """The attention from the pooled token to the patches, and its square, averaged over images.

    Attributes:
      mean: float32 [L, H, N], mean weight.
      mean_square: float32 [L, H, N], mean of the squared weight.
      count: int, number of images.
    """

    mean: np.ndarray
    mean_square: np.ndarray
    count: np.ndarray

    def save(self, path: Path) -> None:
        """Write the arrays as an NPZ file; the same arrays give the same bytes."""
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **dataclasses.asdict(self))


def share_in_common(mean: np.ndarray, mean_square: np.ndarray) -> np.ndarray:
    """Return how much of each head's map is the same on all images, float64 [L, H] from 0 to 1.

    It is the squared length of the mean map divided by the mean squared length of the maps. The
    rest is the variance between images: with 1 all images have the same map, and with a map that
    puts all weight on one patch of N, each equally often, it is 1 / N.

    Args:
      mean: [L, H, N].
      mean_square: [L, H, N].
    """
    common = np.square(mean, dtype=np.float64).sum(axis=-1)
    whole = mean_square.sum(axis=-1, dtype=np.float64)
    # Rounding could end a little above 1. Where no patch gets attention, all maps are the same.
    return np.divide(common, whole, out=np.ones_like(whole), where=whole > 0).clip(0.0, 1.0)
