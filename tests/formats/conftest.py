from collections.abc import Callable
from pathlib import Path

import pytest

from vit_hk.data.sources.torchvision_sets import import_torchvision_datasets

import_torchvision_datasets()  # timm and transformers import torchvision


@pytest.fixture
def write(tmp_path) -> Callable[[dict[str, bytes]], Path]:
    """Return a function that writes the files of an export into a folder."""

    def write_files(files):
        folder = tmp_path / "exported"
        folder.mkdir()
        for name, content in files.items():
            (folder / name).write_bytes(content)
        return folder

    return write_files
