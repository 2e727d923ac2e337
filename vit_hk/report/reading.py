"""Results of other stages as the report reads them: a missing or damaged one is said in a line."""

import json
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vit_hk.errors import UserError

PNG_START = b"\x89PNG\r\n\x1a\n"


@contextmanager
def readable(path: Path, stage: str) -> Iterator[None]:
    """Turn what goes wrong while `path` is read into one line.

    Raises:
      UserError: the file is missing or damaged; names the stage that makes it.
    """
    if not path.is_file():
        found = "no file" if path.exists() else "not there"
        raise UserError(f"{path} is {found}; make it with: dvc repro {stage}")
    try:
        yield
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        problem = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path} is damaged ({problem}); "
            f"make it anew with: dvc repro --force --single-item {stage}"
        ) from None


def read_json(path: Path, stage: str) -> Any:
    """What a JSON file holds."""
    with readable(path, stage):
        return json.loads(path.read_text("utf-8"))


def read_table(path: Path, stage: str, text: list[str], numbers: list[str]) -> pd.DataFrame:
    """A CSV file with at least these columns and a row; numbers are finite.

    Text stays as it is: a class may be called NA or 007.
    """
    with readable(path, stage):
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        if missing := [name for name in (*text, *numbers) if name not in table]:
            raise ValueError(f"no column {missing[0]}")
        if table.empty:
            raise ValueError("no rows")
        for name in numbers:
            table[name] = table[name].astype(float)
            if not np.isfinite(table[name]).all():
                raise ValueError(f"{name} holds a number that is not finite")
        return table


def read_arrays(path: Path, stage: str, names: list[str]) -> dict[str, np.ndarray]:
    """Arrays of an NPZ file; nothing is unpickled."""
    with readable(path, stage), np.load(path, allow_pickle=False) as file:
        if missing := [name for name in names if name not in file]:
            raise ValueError(f"no array {missing[0]}")
        arrays = {name: file[name] for name in names}
        for name, array in arrays.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise ValueError(f"{name} holds a number that is not finite")
        return arrays


def read_png(path: Path, stage: str) -> bytes:
    """The bytes of a PNG file."""
    with readable(path, stage):
        content = path.read_bytes()
        if not content.startswith(PNG_START):
            raise ValueError("not a PNG")
        return content
