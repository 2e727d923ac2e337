"""Images that are chosen from an array without a copy: the array may be larger than memory."""

import dataclasses
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

CHUNK_BYTES = 2**20  # of images that are in memory at a time, while all are looked at


class ImageArray(Protocol):
    """Images uint8 [N, height, width, channels]: an array, or what reads or makes its parts."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape (N, height, width, channels)."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> np.ndarray:
        """Return the images with this index, slice or array of indices along the first axis."""


@dataclasses.dataclass(frozen=True)
class ImageRows:
    """Images chosen from an array; an index or a slice reads these alone.

    Attributes:
      images: uint8 [all images, height, width, channels], memory-mapped where they are many.
      rows: int [N], the index of each image in `images`.
    """

    images: ImageArray
    rows: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape (N, height, width, channels)."""
        return (len(self.rows), *self.images.shape[1:])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any, /) -> np.ndarray:
        return self.images[self.rows[index]]


def chunks(images: ImageArray) -> Iterator[np.ndarray]:
    """Yield all images in their order, some at a time, uint8 [n, height, width, channels]."""
    size = max(1, CHUNK_BYTES // max(1, images[:1].nbytes))
    for start in range(0, len(images), size):
        yield images[start : start + size]


def mean_image(images: ImageArray) -> np.ndarray:
    """Return the mean of all images, float64 [height, width, channels]."""
    total = np.zeros(images.shape[1:], np.int64)
    for chunk in chunks(images):
        total += chunk.sum(axis=0, dtype=np.int64)
    return total / len(images)
