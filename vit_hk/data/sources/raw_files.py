"""Readers of raw files: MNIST's IDX format, and CIFAR-10's binary archive.

CIFAR-10 is read from the binary archive of its authors, not from the Python one that torchvision
would unpickle.
"""

import gzip
import io
import tarfile
from pathlib import Path

import numpy as np

MAX_DECOMPRESSED = 2**28  # bytes of one archive; the largest here, CIFAR-10, has 184 million


def read_mnist_like(folder: Path) -> tuple[np.ndarray, ...]:
    """Read the four files of MNIST, Fashion-MNIST or KMNIST.

    Returns:
      x_train, y_train, x_test, y_test: uint8 [N, height, width, 1] and int32 [N].
    """
    return (
        _read_idx(folder / "train-images-idx3-ubyte.gz")[..., np.newaxis],
        _read_idx(folder / "train-labels-idx1-ubyte.gz").astype(np.int32),
        _read_idx(folder / "t10k-images-idx3-ubyte.gz")[..., np.newaxis],
        _read_idx(folder / "t10k-labels-idx1-ubyte.gz").astype(np.int32),
    )


def _read_idx(path: Path) -> np.ndarray:
    """Read a uint8 array in IDX format: 0, 0, type 8, rank, then big-endian sizes."""
    raw = _decompress(path)
    rank = raw[3]
    shape = np.frombuffer(raw, ">u4", count=rank, offset=4).astype(int)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(shape)


def _decompress(path: Path) -> bytearray:
    """Return the content of a .gz file, and refuse more than any archive here has."""
    raw = bytearray()
    with gzip.open(path) as file:
        while chunk := file.read(2**20):
            raw += chunk
            if len(raw) > MAX_DECOMPRESSED:
                raise ValueError(f"{path.name} unpacks to more than {MAX_DECOMPRESSED:,} bytes")
    return raw


def read_cifar10(folder: Path) -> tuple[np.ndarray, ...]:
    """Read the five training batches and the test batch of CIFAR-10.

    Returns:
      x_train, y_train, x_test, y_test: uint8 [N, 32, 32, 3] and int32 [N].
    """
    raw = _decompress(folder / "cifar-10-binary.tar.gz")
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
