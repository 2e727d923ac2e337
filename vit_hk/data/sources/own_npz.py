"""An NPZ file of one's own as the source of images: read and checked, never written."""

import contextlib
import dataclasses
import zipfile
from pathlib import Path
from typing import Literal

from vit_hk.data.dataset import MAX_CHARACTERS, Dataset, read_dataset
from vit_hk.data.sources.members import ARCHIVE_ERRORS
from vit_hk.errors import UserError

NPY_MAGIC = b"\x93NUMPY"
SOURCE_PREFIX = "NPZ file: "  # marks a data set that was read from a file of one's own


def load_own_npz(path: Path) -> Dataset:
    """Read an NPZ file with the arrays of a data set; see `dataset.read_dataset`.

    Raises:
      UserError: it is missing or damaged, or lacks an array or holds an invalid one.
    """
    if not path.is_file():
        found = "a folder" if path.is_dir() else "not there"
        raise UserError(
            f"params.yaml: data.root is {path}, which is {found}; with data.name = npz it must be "
            "an NPZ file"
        )
    _check_kind(path)
    remedy = "repair the file, or name another in params.yaml: data.root"
    dataset = read_dataset(path, remedy)
    source = f"{SOURCE_PREFIX}{dataset.source}"[:MAX_CHARACTERS]
    return dataclasses.replace(dataset, source=source)


def _check_kind(path: Path) -> None:
    """Refuse files of another kind with what makes them usable; the reader names other faults."""
    kind = None
    with contextlib.suppress(OSError, *ARCHIVE_ERRORS):
        kind = _find_kind(path)
    if kind == "array":
        raise UserError(
            f"params.yaml: data.root is {path}, a single array (.npy); write all arrays into an "
            "NPZ file with numpy.savez"
        )
    if kind == "zip":
        raise UserError(
            f"params.yaml: data.root is {path}, a ZIP file without arrays; for images in it, set "
            "data.name to folder"
        )


def _find_kind(path: Path) -> Literal["array", "zip"] | None:
    with path.open("rb") as file:
        if file.read(len(NPY_MAGIC)) == NPY_MAGIC:
            return "array"
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    return "zip" if names and not any(name.endswith(".npy") for name in names) else None
