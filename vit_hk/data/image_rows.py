"""Images that are chosen from an array without a copy: the array may be larger than memory."""

import dataclasses
import mmap
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
        rows = self.rows[index]
        if isinstance(self.images, np.ndarray):
            _read_ahead(self.images, np.atleast_1d(rows))
        return self.images[rows]


def _read_ahead(images: np.ndarray, rows: np.ndarray) -> None:
    """Ask the system to read some images of a mapped file now, all at the same time.

    Without that it reads a page when it is used, one after the other, and many around it that
    nobody needs: 30 times as much where images are chosen at random.

    Args:
      images: uint8 [N, height, width, channels]. Nothing happens where they are not mapped, or
        where an image does not lie in one piece.
      rows: int [n], the indices of the images.
    """
    root = images
    while isinstance(root.base, np.ndarray):
        root = root.base
    if not (isinstance(root, np.memmap) and len(rows) and images[0].flags.c_contiguous):
        return
    mapped: Any = root.base  # an mmap.mmap
    before = root.offset % mmap.ALLOCATIONGRANULARITY + images.ctypes.data - root.ctypes.data
    starts = before + np.sort(rows).astype(np.int64) * images.strides[0]
    first_pages = starts // mmap.PAGESIZE
    last_pages = (starts + images[0].nbytes - 1) // mmap.PAGESIZE
    # Images whose pages touch are read together.
    is_apart = first_pages[1:] > last_pages[:-1] + 1
    firsts = first_pages[np.r_[True, is_apart]] * mmap.PAGESIZE
    ends = (last_pages[np.r_[is_apart, True]] + 1) * mmap.PAGESIZE
    for first, end in zip(firsts.tolist(), ends.tolist(), strict=True):
        mapped.madvise(mmap.MADV_WILLNEED, first, end - first)


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


def are_equal(left: ImageArray, right: ImageArray) -> bool:
    """Return whether two arrays of images have the same shape and the same pixels."""
    if left.shape != right.shape:
        return False
    return all((a == b).all() for a, b in zip(chunks(left), chunks(right), strict=True))
