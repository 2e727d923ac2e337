"""Raw files of the data sets: their verification, and readers of MNIST's and CIFAR-10's formats.

A file is verified by its content where that is known, so that one that somebody has compressed
again, or decompressed, is used like the one that hosts send. A wrong file is never read, changed
or removed. CIFAR-10 is read from the binary archive of its authors, not from the Python one that
torchvision would unpickle.
"""

import dataclasses
import gzip
import hashlib
import io
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from vit_hk.data.sources.checksums import Pin
from vit_hk.errors import UserError

MAX_DECOMPRESSED = 2**28  # bytes of one archive; the largest here, CIFAR-10, has 184 million
CHUNK = 2**20  # bytes that are read at a time


@dataclasses.dataclass(frozen=True)
class RawFile:
    """A raw file as hosts send it: its name, its MD5 as torchvision lists it, and its pins."""

    name: str
    md5: str
    pin: Pin


def find_raw_file(file: RawFile, folder: Path) -> Path | None:
    """Return the path of a correct copy of a raw file in a folder, or None if there is no copy.

    A .gz file may be there decompressed too.

    Raises:
      UserError: there are copies, and all of them are wrong; or a link leads nowhere.
      OSError: the folder cannot be read.
    """
    copies = [folder / file.name]
    if file.pin.content:
        copies.append(folder / file.name.removesuffix(".gz"))
    for path in (*folder.parents, folder, *copies):
        if path.is_symlink() and not path.exists():
            raise UserError(
                f"{path} is a link to {path.readlink()}, which is not there; repair the link or "
                "remove it"
            )
    found = [path for path in copies if path.is_file()]
    for path in found:
        if is_download_of(path, file) or _has_content_of(path, file):
            return path
    if found:
        raise UserError(
            f"{found[0]} is not {file.name} as published: its size or its checksum differs; it is "
            "left as it is, so move it away, and the right one is fetched"
        )
    return None


def is_download_of(path: Path, file: RawFile) -> bool:
    """Return whether a file has the size and both checksums of the file that hosts send."""
    if path.stat().st_size != file.pin.size:
        return False
    with path.open("rb") as opened:
        sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
        opened.seek(0)
        md5 = hashlib.file_digest(opened, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    return (sha256, md5) == (file.pin.sha256, file.md5)


def _has_content_of(path: Path, file: RawFile) -> bool:
    """Return whether a file, decompressed where it is a .gz, has the known content."""
    if file.pin.content is None:
        return False
    size, sha256 = 0, hashlib.sha256()
    try:
        for chunk in _read_chunks(path):
            size += len(chunk)
            if size > file.pin.content.size:
                return False
            sha256.update(chunk)
    except (gzip.BadGzipFile, EOFError, zlib.error):
        return False
    return (size, sha256.hexdigest()) == (file.pin.content.size, file.pin.content.sha256)


def _read_chunks(path: Path) -> Iterator[bytes]:
    """Yield the content of a plain file or, decompressed, of a .gz file."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


def read_mnist_like(paths: Sequence[Path]) -> tuple[np.ndarray, ...]:
    """Read the four files of MNIST, Fashion-MNIST or KMNIST.

    Args:
      paths: training images, training labels, test images and test labels, as .gz or plain files.

    Returns:
      x_train, y_train, x_test, y_test: uint8 [images, height, width, 1] and int32 [images].
    """
    x_train, y_train, x_test, y_test = map(_read_idx, paths)
    return (
        x_train[..., np.newaxis],
        y_train.astype(np.int32),
        x_test[..., np.newaxis],
        y_test.astype(np.int32),
    )


def _read_idx(path: Path) -> np.ndarray:
    """Read a uint8 array in IDX format: 0, 0, type 8, rank, then big-endian sizes."""
    raw = _decompress(path)
    rank = raw[3]
    shape = np.frombuffer(raw, ">u4", count=rank, offset=4).astype(int)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(shape)


def _decompress(path: Path) -> bytearray:
    """Return the content of a .gz or a plain file, and refuse more than any archive here has."""
    raw = bytearray()
    for chunk in _read_chunks(path):
        raw += chunk
        if len(raw) > MAX_DECOMPRESSED:
            raise ValueError(f"{path.name} unpacks to more than {MAX_DECOMPRESSED:,} bytes")
    return raw


def read_cifar10(paths: Sequence[Path]) -> tuple[np.ndarray, ...]:
    """Read the five training batches and the test batch of CIFAR-10.

    Args:
      paths: the binary archive alone.

    Returns:
      x_train, y_train, x_test, y_test: uint8 [images, 32, 32, 3] and int32 [images].
    """
    (path,) = paths
    raw = _decompress(path)
    with tarfile.open(fileobj=io.BytesIO(raw), mode="r:") as archive:
        train = [_read_cifar10_batch(archive, f"data_batch_{n}.bin") for n in range(1, 6)]
        x_test, y_test = _read_cifar10_batch(archive, "test_batch.bin")
    x_train, y_train = (np.concatenate(parts) for parts in zip(*train, strict=True))
    return x_train, y_train, x_test, y_test


def _read_cifar10_batch(archive: tarfile.TarFile, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Read one batch, whose records are a label and an image of 3 x 32 x 32 bytes."""
    member = archive.extractfile(f"cifar-10-batches-bin/{name}")
    if member is None:
        raise ValueError(f"cifar-10-binary.tar.gz has no {name}")
    records = np.frombuffer(member.read(), np.uint8).reshape(-1, 1 + 3 * 32 * 32)
    images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return images, records[:, 0].astype(np.int32)
