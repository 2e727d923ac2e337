"""Images that wait on disk until all of them are prepared, since they may be larger than memory."""

import math
from typing import Self

import numpy as np

from vit_hk.data.spool import Spool, check_room
from vit_hk.params import ImageShape


class ImageSpool:
    """A temporary file of images, which are written in any order. Use it in a `with` block."""

    def __init__(self, count: int, image_shape: ImageShape) -> None:
        """Create a file for `count` images.

        Raises:
          NoRoomError: the disk has no room for them and for the NPZ file.
        """
        self._shape = (count, *image_shape)
        self._image_bytes = math.prod(image_shape)
        size = count * self._image_bytes
        check_room(2 * size)  # the NPZ file takes as much while this file is there
        self._spool = Spool(size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._spool.__exit__(*exception)

    def write(self, index: int, image: np.ndarray) -> None:
        """Write an image, uint8 [height, width, channels]; several threads may write at a time.

        Raises:
          NoRoomError: the file system refuses.
        """
        self._spool.write(index * self._image_bytes, np.ascontiguousarray(image).data)

    def map(self) -> np.ndarray:
        """Return all images, uint8 [count, height, width, channels], memory-mapped, read-only."""
        return self._spool.map().reshape(self._shape)
