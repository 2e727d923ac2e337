"""Readers of the result files of other stages, with errors that name the stage to run."""

import json
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vit_hk.errors import UserError, check_file_exists, in_one_line, unreadable

# What reading a damaged file raises; JSON may be nested too deeply, or hold too large an integer.
DAMAGED = (
    OSError, ValueError, KeyError, EOFError, RecursionError, OverflowError, zipfile.BadZipFile,
    zlib.error,
)  # fmt: skip
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@contextmanager
def user_error_if_damaged(path: Path, stage: str) -> Iterator[None]:
    """Turn an error inside the block, which reads `path`, into a UserError.

    Raises:
      UserError: the file is missing or damaged; the message names the stage that writes it.
    """
    check_file_exists(path, stage)
    try:
        yield
    except PermissionError as error:
        raise unreadable(path, error) from None
    except DAMAGED as error:
        raise UserError(
            f"{path} is damaged ({in_one_line(error, 200)}); "
            f"make it again with: dvc repro --force --single-item {stage}"
        ) from None


def read_json(path: Path, stage: str) -> Any:
    """Read a JSON file."""
    with user_error_if_damaged(path, stage):
        return json.loads(path.read_text("utf-8"))


def read_table(path: Path, stage: str, text: list[str], numbers: list[str]) -> pd.DataFrame:
    """Read a CSV file and check that it has at least one row and these columns.

    Text stays as it is, since a class may have the name NA or 007; numbers must be finite.
    """
    with user_error_if_damaged(path, stage):
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        if missing := [name for name in (*text, *numbers) if name not in table]:
            raise ValueError(f"no column {missing[0]}")
        if table.empty:
            raise ValueError("no rows")
        for name in numbers:
            table[name] = table[name].astype(float)
            if not np.isfinite(table[name]).all():
                raise ValueError(f"column {name} holds a number that is not finite")
        return table


def read_arrays(path: Path, stage: str, names: list[str]) -> dict[str, np.ndarray]:
    """Read arrays of an NPZ file without unpickling; floating-point numbers must be finite.

    The stages compress none, so that a file cannot unpack to more bytes than it has.
    """
    with user_error_if_damaged(path, stage), np.load(path, allow_pickle=False) as file:
        if any(info.compress_type != zipfile.ZIP_STORED for info in file.zip.infolist()):
            raise ValueError("a compressed array")
        if missing := [name for name in names if name not in file]:
            raise ValueError(f"no array {missing[0]}")
        try:
            arrays = {name: file[name] for name in names}
        except MemoryError:
            raise ValueError("an array that claims more bytes than memory has") from None
        for name, array in arrays.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise ValueError(f"array {name} holds a number that is not finite")
        return arrays


def check_array(name: str, array: np.ndarray, kinds: str, shape: tuple[int, ...]) -> None:
    """Check the dtype and the shape of an array that was read.

    Args:
      name: name of the array, for the message.
      array: the array.
      kinds: allowed values of `dtype.kind`, for example "iu" for integers.
      shape: the shape that settings and data imply.

    Raises:
      ValueError: the dtype or the shape is another one.
    """
    if array.dtype.kind not in kinds or array.shape != shape:
        raise ValueError(
            f"array {name} is {array.dtype} {list(array.shape)}; "
            f"settings and data imply shape {list(shape)}"
        )


def read_png(path: Path, stage: str) -> bytes:
    """Read the bytes of a PNG file."""
    with user_error_if_damaged(path, stage):
        content = path.read_bytes()
        if not content.startswith(PNG_SIGNATURE):
            raise ValueError("not a PNG")
        return content
