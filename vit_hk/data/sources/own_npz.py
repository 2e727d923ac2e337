"""An NPZ file of one's own as the source of images: read and checked, never written."""

import contextlib
import dataclasses
import zipfile
from pathlib import Path

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
    with contextlib.suppress(OSError, *ARCHIVE_ERRORS):
        with path.open("rb") as file:
            is_array = file.read(len(NPY_MAGIC)) == NPY_MAGIC
        if is_array:
            raise UserError(
                f"params.yaml: data.root is {path}, a single array (.npy); write all arrays into "
                "an NPZ file with numpy.savez"
            )
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        if names and not any(name.endswith(".npy") for name in names):
            raise UserError(
                f"params.yaml: data.root is {path}, a ZIP file without arrays; for images in it, "
                "set data.name to folder"
            )
