"""The scale of pixels that a model is trained with."""

import dataclasses
import math
from typing import Self, TypeVar

import numpy as np

ArrayLike = TypeVar("ArrayLike")  # a NumPy or a JAX array


@dataclasses.dataclass(frozen=True)
class Normalization:
    """Mean and standard deviation of each channel, with pixels on the scale from 0 to 1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def from_images(cls, images: np.ndarray) -> Self:
        """Measure the mean and the standard deviation of each channel.

        Args:
          images: uint8 [N, height, width, channels]. A channel that never changes gets a
            standard deviation of 1.
        """
        means, deviations = [], []
        for channel in range(images.shape[-1]):
            # From a histogram: exact, and without a float copy of all images.
            counts = np.bincount(images[..., channel].ravel(), minlength=256)
            levels = np.arange(256) / 255
            mean = float(np.average(levels, weights=counts))
            variance = float(np.average((levels - mean) ** 2, weights=counts))
            means.append(mean)
            # Rounding would give a channel of one level a deviation of some 1e-17.
            deviations.append(math.sqrt(variance) if np.count_nonzero(counts) > 1 else 1.0)
        return cls(tuple(means), tuple(deviations))

    def __call__(self, images: ArrayLike) -> ArrayLike:
        """Scale images to mean 0 and standard deviation 1.

        Args:
          images: uint8 or float32 [..., channels], with pixels from 0 to 255.

        Returns:
          float32 images of the same shape.
        """
        mean, std = np.array(self.mean, np.float32), np.array(self.std, np.float32)
        return (images.astype(np.float32) / 255 - mean) / std  # type: ignore[attr-defined]
