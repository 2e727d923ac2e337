"""Functions that write valid and damaged NPZ files byte by byte, without vit_hk."""

import dataclasses
import io
import struct
import warnings
import zipfile
from pathlib import Path

import numpy as np

from vit_hk.data.dataset import ARRAYS, Dataset

U1_HEADER = "{{'descr': '|u1', 'fortran_order': False, 'shape': {}}}"


def small_dataset() -> Dataset:
    """Return a data set so small that random damage hits headers as often as pixels."""
    random = np.random.default_rng(0)
    return Dataset(
        random.integers(0, 256, (4, 3, 2, 1), dtype=np.uint8), np.array([0, 1, 1, 0], np.int32),
        random.integers(0, 256, (2, 3, 2, 1), dtype=np.uint8), np.array([1, 0], np.int32),
        "mnist", "made for a test", ("a", "b"),
    )  # fmt: skip


def npy(array: np.ndarray) -> bytes:
    """Return an array in the .npy format."""
    file = io.BytesIO()
    np.lib.format.write_array(file, array)
    return file.getvalue()


def npy_by_hand(header: str | bytes, data: bytes = b"", version: tuple[int, int] = (1, 0)) -> bytes:
    """Return a .npy file with an arbitrary header and arbitrary data."""
    text = header.encode("latin1") if isinstance(header, str) else header
    length = struct.pack("<H" if version == (1, 0) else "<I", len(text))
    return b"\x93NUMPY" + bytes(version) + length + text + data


def write_npz(
    path: Path,
    dataset: Dataset,
    changes: dict[str, np.ndarray | bytes | None] | None = None,
    more: tuple[tuple[str, bytes], ...] = (),
    compression: int = zipfile.ZIP_STORED,
) -> None:
    """Write an NPZ file with zipfile alone; a change of None omits the array."""
    arrays = {name: np.array(getattr(dataset, name)) for name in ARRAYS} | (changes or {})
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", compression) as archive:
        warnings.simplefilter("ignore")  # zipfile warns of a duplicate name
        for name, value in arrays.items():
            if value is not None:
                content = value if isinstance(value, bytes) else npy(value)
                archive.writestr(f"{name}.npy", content)
        for name, content in more:
            archive.writestr(name, content)


def assert_same(left: Dataset, right: Dataset) -> None:
    """Check that two data sets are equal, types included."""
    for field in dataclasses.fields(Dataset):
        a, b = getattr(left, field.name), getattr(right, field.name)
        assert type(a) is type(b)
        if isinstance(a, np.ndarray):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)
        else:
            assert a == b
