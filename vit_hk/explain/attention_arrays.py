"""The attention and the attribution maps of test images, the content of attention.npz."""

import dataclasses
from pathlib import Path

import numpy as np

from vit_hk.atomic import replacing


@dataclasses.dataclass(frozen=True)
class AttentionArrays:
    """Test images with the attention of the model and its attribution maps.

    Attributes:
      attention: float32 [L, B, H, query T, key T]; each row sums to 1.
      indices: int [B], positions of the images in the test set.
      images: uint8 [B, height, width, channels].
      labels: int [B], true classes.
      probabilities: float32 [B, C].
      methods: str [methods], names of the attribution methods.
      maps: float32 [methods, B, N], for the predicted class; not scaled, see `normalize_maps`.
      maps_true: float32 [methods, B, N], for the true class.
    """

    attention: np.ndarray
    indices: np.ndarray
    images: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray
    methods: np.ndarray
    maps: np.ndarray
    maps_true: np.ndarray

    def save(self, path: Path) -> None:
        """Write the arrays as an NPZ file; the same arrays give the same bytes."""
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **{f.name: getattr(self, f.name) for f in dataclasses.fields(self)})
