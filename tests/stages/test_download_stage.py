import gzip
import hashlib
import struct
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mirror_server import closed_port

from vit_hk.data.dataset import load_dataset
from vit_hk.data.sources.checksums import PINS, Pin
from vit_hk.data.sources.torchvision_sets import import_torchvision_datasets

NAMES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


@pytest.fixture
def raw_files(monkeypatch) -> Callable[[Path], np.ndarray]:
    """Return a function that writes small raw files of MNIST; no host can be reached."""
    arrays = [
        np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3), np.arange(5, dtype=np.uint8),
        np.zeros((2, 4, 3), np.uint8), np.array([9, 8], np.uint8),
    ]  # fmt: skip
    contents = [
        gzip.compress(struct.pack(f">BBBB{a.ndim}I", 0, 0, 8, a.ndim, *a.shape) + a.tobytes())
        for a in arrays
    ]
    cls = import_torchvision_datasets().MNIST
    md5s = [hashlib.md5(content).hexdigest() for content in contents]  # noqa: S324
    monkeypatch.setattr(cls, "mirrors", [closed_port()])
    monkeypatch.setattr(cls, "resources", list(zip(NAMES, md5s, strict=True)))
    pins = [Pin(len(content), hashlib.sha256(content).hexdigest()) for content in contents]
    monkeypatch.setitem(PINS, "mnist", dict(zip(NAMES, pins, strict=True)))
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setenv("no_proxy", "*")

    def write(folder: Path) -> np.ndarray:
        folder.mkdir(parents=True)
        for name, content in zip(NAMES, contents, strict=True):
            (folder / name).write_bytes(content)
        return arrays[0]

    return write


def test_data_set_is_written_from_raw_files(here, copy, raw_files):
    images = raw_files(copy / "data" / "raw" / "MNIST" / "raw")
    ended = here("download", copy)
    assert ended.code == 0, ended.err
    assert ended.out == (
        "data/dataset.npz: mnist, 5 training and 2 test images, source: torchvision\n"
    )
    dataset = load_dataset(copy / "data" / "dataset.npz")
    np.testing.assert_array_equal(dataset.x_train[..., 0], images)
    assert dataset.y_test.tolist() == [9, 8]


def test_experiments_share_the_downloads_of_the_project(here, copy, raw_files, tmp_path):
    # DVC runs an experiment in a temporary folder and names the project in DVC_ROOT.
    images = raw_files(tmp_path / "shared" / "data" / "raw" / "MNIST" / "raw")
    ended = here("download", copy, DVC_ROOT=str(tmp_path / "shared"))
    assert ended.code == 0, ended.err
    dataset = load_dataset(copy / "data" / "dataset.npz")
    np.testing.assert_array_equal(dataset.x_train[..., 0], images)
    assert not (copy / "data" / "raw").exists()


def test_wrong_setting_is_named(here, refused, copy, edit):
    edit(data__name="minst")
    line = refused(here, "download", copy)
    assert "params.yaml: data.name is 'minst'; allowed: 'mnist', " in line


@pytest.mark.usefixtures("raw_files")
def test_unreachable_host_keeps_the_existing_data_set(here, refused, copy, edit):
    edit(data__offline="fail")
    line = refused(here, "download", copy)
    assert "mnist could not be fetched, no host delivers train-images-idx3-ubyte.gz" in line
    assert "data.offline is fail" in line


@pytest.mark.usefixtures("raw_files")
def test_root_below_a_file_is_named(here, refused, copy, edit):
    edit(data__root="params.yaml/raw")
    line = refused(here, "download", copy)
    assert "params.yaml/raw/MNIST/raw cannot be used: Not a directory" in line
