"""The scale of pixels that a model is trained with."""

import dataclasses
import math
from typing import Self, TypeVar

import numpy as np

from vit_hk.data.image_rows import ImageArray, chunks

LEVELS = 256  # of a pixel
ArrayLike = TypeVar("ArrayLike")  # a NumPy or a JAX array


@dataclasses.dataclass(frozen=True)
class Normalization:
    """Mean and standard deviation of each channel, with pixels on the scale from 0 to 1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def from_images(cls, images: ImageArray) -> Self:
        """Measure the mean and the standard deviation of each channel.

        Args:
          images: uint8 [N, height, width, channels]. A channel that never changes gets a
            standard deviation of 1.
        """
        num_channels = images.shape[-1]
        # From histograms: exact, and without a float copy of all images.
        counts = np.zeros((num_channels, LEVELS), np.int64)
        for chunk in chunks(images):
            for channel in range(num_channels):
                counts[channel] += np.bincount(chunk[..., channel].ravel(), minlength=LEVELS)
        levels = np.arange(LEVELS) / (LEVELS - 1)
        means, deviations = [], []
        for count in counts:
            mean = float(np.average(levels, weights=count))
            variance = float(np.average((levels - mean) ** 2, weights=count))
            means.append(mean)
            # Rounding would give a channel of one level a deviation of some 1e-17.
            deviations.append(math.sqrt(variance) if np.count_nonzero(count) > 1 else 1.0)
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
