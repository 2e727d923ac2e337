"""The arrays of an NPZ file, checked and mapped into memory, so that they may be larger than it."""

import math
import struct
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from vit_hk.data.spool import Spool, map_file
from vit_hk.errors import UserError

MAX_DEFLATE_RATIO = 1032  # the highest compression that zlib can reach
# Python decompresses bzip2 and LZMA without a limit, whatever size a member claims.
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
CHUNK = 2**20  # bytes that are read at a time
# The part of a member before its content: 26 bytes, then the lengths of its name and its extra
# field (APPNOTE.TXT of PKWARE, 4.3.7).
LOCAL_HEADER = struct.Struct("<26x2H")


class _Header(NamedTuple):
    """What the header of a .npy file says of its array."""

    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype
    start: int  # of the data in the .npy file, in bytes
    size: int  # of the data, in bytes

    def view(self, data: np.ndarray) -> np.ndarray:
        """Return the array whose bytes are `data`, uint8 [size]."""
        return data.view(self.dtype).reshape(self.shape, order="F" if self.is_fortran else "C")


def map_arrays(
    path: Path, required: Sequence[str], optional: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """Return arrays of an NPZ file, read-only, without taking memory for them.

    Arrays that are stored, as by `np.savez`, are mapped where they lie in the file. Compressed ones
    are decompressed to a temporary file first. The whole content is read once for its checksums,
    and sizes are checked against what the file can hold before that. Nothing is unpickled.

    Args:
      path: the file.
      required: names of the arrays.
      optional: names of arrays that may be missing.

    Raises:
      UserError: an array is missing, or its header does not fit its content. NoRoomError: the disk
        has no room to decompress it.
      EOFError, NotImplementedError, OSError, RuntimeError, ValueError, zipfile.BadZipFile,
        zlib.error: the file is damaged, encrypted, or no NPZ file.
    """
    with path.open("rb") as file, zipfile.ZipFile(file) as archive:
        members = _find_members(archive, path, required, optional)
        return {
            name: _map_member(file, archive, info, f"{path}: {name}")
            for name, info in members.items()
        }


def _find_members(
    archive: zipfile.ZipFile, path: Path, required: Sequence[str], optional: Sequence[str]
) -> dict[str, zipfile.ZipInfo]:
    members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    if missing := [name for name in required if name not in members]:
        raise UserError(f"{path} has no array {missing[0]}; it must hold {', '.join(required)}")
    if len(members) < len(archive.infolist()):
        raise UserError(f"{path} holds an array twice")
    found = {name: members[name] for name in (*required, *optional) if name in members}
    for name, info in found.items():
        _check_claims(info, path.stat().st_size, f"{path}: {name}")
    return found


def _check_claims(info: zipfile.ZipInfo, file_size: int, label: str) -> None:
    """Check the compression and the sizes that the table of contents claims for a member."""
    if info.compress_type not in COMPRESSIONS:
        raise UserError(f"{label} is compressed in a way that NumPy does not write")
    ratio = 1 if info.compress_type == zipfile.ZIP_STORED else MAX_DEFLATE_RATIO
    if info.compress_size > file_size or info.file_size > ratio * info.compress_size:
        raise UserError(f"{label} claims more bytes than the file holds")


def _map_member(
    file: IO[bytes], archive: zipfile.ZipFile, info: zipfile.ZipInfo, label: str
) -> np.ndarray:
    with archive.open(info) as member:
        header = _read_header(member, info.file_size, label)
        if info.compress_type == zipfile.ZIP_STORED:
            for _ in _read_chunks(member):  # checks the CRC at the end
                pass
            return header.view(
                map_file(file, _find_content(file, info) + header.start, header.size)
            )
        with Spool(header.size) as spool:
            start = 0
            for chunk in _read_chunks(member):
                spool.write(start, chunk)
                start += len(chunk)
            return header.view(spool.map())


def _find_content(file: IO[bytes], info: zipfile.ZipInfo) -> int:
    """Return the position of a member's content in the file, from the header before it."""
    file.seek(info.header_offset)
    name_length, extra_length = LOCAL_HEADER.unpack(file.read(LOCAL_HEADER.size))
    return info.header_offset + LOCAL_HEADER.size + name_length + extra_length


def _read_header(file: IO[bytes], size: int, label: str) -> _Header:
    """Read the header of a .npy member of `size` bytes, and check that it fits that size."""
    version = np.lib.format.read_magic(file)
    # Later versions are for headers of up to 4 GiB, which no array here needs.
    if version != (1, 0):
        raise UserError(f"{label} has .npy version {version}; allowed: 1.0")
    try:
        with warnings.catch_warnings(action="error"):
            shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file)
    except Exception:  # NumPy evaluates the header, and garbage raises a dozen kinds of error
        raise UserError(f"{label} has a header that cannot be read") from None
    if dtype.hasobject:
        raise UserError(f"{label} holds pickled objects, which are never loaded")
    start = file.tell()
    claimed, available = math.prod(shape) * dtype.itemsize, size - start
    if claimed != available:
        raise UserError(
            f"{label} claims {claimed:,} bytes of data, its part of the file {available:,}"
        )
    return _Header(shape, is_fortran, dtype, start, available)


def _read_chunks(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the rest of a file in chunks, since read() would take it into memory."""
    while chunk := file.read(CHUNK):
        yield chunk
