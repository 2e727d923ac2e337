"""Arrays that are larger than memory: a memory-mapped file, and a temporary file to map."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import IO, Self

import numpy as np

from vit_hk.atomic import WRITE_REMEDY
from vit_hk.errors import UserError

# Not the system's folder of temporary files, which is often a file system in memory.
FOLDER = Path()


class NoRoomError(UserError):
    """A temporary file that the disk has no room for."""


def map_file(file: IO[bytes], start: int, size: int) -> np.ndarray:
    """Map a part of a file into memory, read-only; its pages are read when they are used.

    The system keeps such pages while memory is free, and forgets them when it is short: the file
    still has them. They count as page cache, not as memory of the process.

    Args:
      file: the file, which may be closed afterwards.
      start: number of the first byte.
      size: number of bytes.

    Returns:
      Uint8 [size].
    """
    if not size:  # nothing can be mapped
        return np.empty(0, np.uint8)
    return np.asarray(np.memmap(file, np.uint8, "r", start, (size,)))


def check_room(size: int) -> None:
    """Check that the disk of the current folder has room for `size` bytes.

    Raises:
      NoRoomError: it has less.
    """
    if (free := shutil.disk_usage(FOLDER).free) < size:
        raise NoRoomError(
            f"{size:,} bytes are needed on the disk of {FOLDER.resolve()}, which has {free:,}; "
            "make room there"
        )


class Spool:
    """A temporary file in the current folder, which is written in any order and then mapped.

    It has no name, so nothing is left behind, however the process ends. Use it in a `with` block.
    """

    def __init__(self, size: int) -> None:
        """Create a file for `size` bytes.

        Raises:
          NoRoomError: the disk has less room, or the folder cannot be written.
        """
        self._size = size
        check_room(size)
        try:
            self._file = tempfile.TemporaryFile(dir=FOLDER, buffering=0)  # noqa: SIM115
        except OSError as error:
            raise _no_room(error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()  # what is mapped stays

    def write(self, start: int, content: bytes | memoryview) -> None:
        """Write bytes from byte `start` on; several threads may write at a time.

        Raises:
          NoRoomError: the file system refuses.
        """
        rest = memoryview(content).cast("B")
        try:
            while rest:
                written = os.pwrite(self._file.fileno(), rest, start)
                start, rest = start + written, rest[written:]
        except OSError as error:
            raise _no_room(error) from None

    def map(self) -> np.ndarray:
        """Return all bytes, uint8 [size], read-only."""
        return map_file(self._file, 0, self._size)


def _no_room(error: OSError) -> NoRoomError:
    return NoRoomError(
        f"a temporary file in {FOLDER.resolve()} could not be written: "
        f"{error.strerror or error}; {WRITE_REMEDY}"
    )
