"""An NPZ file of one's own as the source of images: read and checked, never written."""

import dataclasses
from pathlib import Path

from vit_hk.data.dataset import MAX_CHARACTERS, Dataset, read_dataset
from vit_hk.errors import UserError

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
    remedy = "mend the file, or name another in params.yaml: data.root"
    dataset = read_dataset(path, remedy)
    source = f"{SOURCE_PREFIX}{dataset.source}"[:MAX_CHARACTERS]
    return dataclasses.replace(dataset, source=source)
