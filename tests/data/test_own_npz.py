import dataclasses
import hashlib
import zipfile

import numpy as np
import pytest
from settings_file import AS_THEY_ARE

from vit_hk.data.dataset import SAMPLE_SOURCE, load_dataset, save_dataset
from vit_hk.data.sources.load import check_replaceable, load_source
from vit_hk.errors import UserError
from vit_hk.params import DataSettings


def settings(path) -> DataSettings:
    return DataSettings(name="npz", root=str(path), offline="fail", **AS_THEY_ARE)


@pytest.fixture
def own(tmp_path, tiny_dataset):
    path = tmp_path / "own images.npz"
    save_dataset(dataclasses.replace(tiny_dataset, name="leaves", source="my garden"), path)
    return path


def test_own_file_is_read_and_not_changed(own, tmp_path, tiny_dataset):
    before = own.read_bytes()
    dataset = load_source(settings(own), tmp_path)
    np.testing.assert_array_equal(dataset.x_train, tiny_dataset.x_train)
    assert (dataset.name, dataset.source) == ("leaves", "NPZ file: my garden")
    assert own.read_bytes() == before


def test_relative_path_starts_from_the_current_folder(own, tmp_path, monkeypatch):
    # As DVC reads it. The folder of downloads starts from the project instead.
    monkeypatch.chdir(tmp_path)
    dataset = load_source(settings(own.name), tmp_path / "project")
    assert dataset.name == "leaves"


@pytest.mark.parametrize("name", ["npz", "folder"])
@pytest.mark.parametrize("root", ["data/raw/own", "data/other/../raw/own.npz"])
def test_own_images_must_not_lie_where_dvc_sees_no_changes(
    tmp_path, monkeypatch, one_line, name, root
):
    monkeypatch.chdir(tmp_path)
    for path in (root, str(tmp_path / root)):
        own = DataSettings(
            name=name, root=path, offline="fail", **{**AS_THEY_ARE, "image_size": [8, 8]}
        )
        with pytest.raises(UserError) as caught:
            load_source(own, tmp_path)
        assert "must not lie in data/raw, where DVC does not notice" in one_line(caught.value)


def test_folder_of_downloads_is_not_ones_own(tmp_path, monkeypatch, one_line):
    monkeypatch.chdir(tmp_path)
    own = DataSettings(name="npz", root="data/raw", offline="fail", **AS_THEY_ARE)
    with pytest.raises(UserError) as caught:
        load_source(own, tmp_path)
    assert "data.root is data/raw, the folder of downloads; name your own" in one_line(caught.value)


def test_compressed_file_is_written_uncompressed(own, tmp_path, tiny_dataset):
    with np.load(own, allow_pickle=False) as arrays:
        np.savez_compressed(tmp_path / "compressed.npz", **arrays)
    written = tmp_path / "dataset.npz"
    save_dataset(load_source(settings(tmp_path / "compressed.npz"), tmp_path), written)
    with zipfile.ZipFile(written) as archive:
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
    np.testing.assert_array_equal(load_dataset(written).x_train, tiny_dataset.x_train)


def test_longest_source_still_fits(own, tmp_path, tiny_dataset):
    save_dataset(dataclasses.replace(tiny_dataset, source="x" * 200), own)
    save_dataset(load_source(settings(own), tmp_path), tmp_path / "dataset.npz")
    assert load_dataset(tmp_path / "dataset.npz").source == "NPZ file: " + "x" * 190


@pytest.mark.parametrize("kind", ["missing", "folder", "damaged", "wrong"])
def test_bad_file_is_named_with_what_to_do(own, tmp_path, one_line, kind):
    if kind in ("missing", "folder"):
        own.unlink()
    if kind == "folder":
        own.mkdir()
    if kind == "damaged":
        own.write_bytes(own.read_bytes()[:-30])
    if kind == "wrong":
        with own.open("wb") as file:
            np.savez(file, x_train=np.zeros(3))
    with pytest.raises(UserError) as caught:
        load_source(settings(own), tmp_path)
    message = one_line(caught.value)
    expected = {
        "missing": "which is not there; with data.name = npz it must be an NPZ file",
        "folder": "which is a folder; with data.name = npz it must be an NPZ file",
        "damaged": "is damaged (",
        "wrong": "has no array y_train",
    }
    assert str(own) in message
    assert expected[kind] in message
    if kind in ("damaged", "wrong"):
        assert message.endswith("repair the file, or name another in params.yaml: data.root")
    assert "dvc repro" not in message


def test_file_of_another_kind_is_named_with_its_kind(own, tmp_path, one_line):
    np.save(tmp_path / "own.npy", np.zeros(3))
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("cat/1.png", b"")
    for name, message in {
        "own.npy": "a single array (.npy); write all arrays into an NPZ file with numpy.savez",
        "photos.zip": "a ZIP file without arrays; for images in it, set data.name to folder",
    }.items():
        with pytest.raises(UserError) as caught:
            load_source(settings(tmp_path / name), tmp_path)
        assert message in one_line(caught.value)
    options = {**settings(own).model_dump(), "name": "folder"}
    with pytest.raises(UserError, match=r"an NPZ file; set data\.name to npz"):
        load_source(DataSettings(**{**options, "image_size": [8, 8]}), tmp_path)


@pytest.mark.parametrize("name", ["npz", "mnist"])
def test_home_folder_is_not_expanded(name):  # DVC, which watches the path, does not
    with pytest.raises(ValueError, match="write its path from / or from the project's folder"):
        DataSettings(name=name, root="~/own", offline="fail", **AS_THEY_ARE)


@pytest.mark.parametrize(
    "source", ["torchvision", SAMPLE_SOURCE, "NPZ file: my garden", "folder of images: a.zip"]
)
def test_what_download_has_written_may_be_replaced(tmp_path, tiny_dataset, source):
    path = tmp_path / "dataset.npz"
    check_replaceable(path)  # there is none
    save_dataset(dataclasses.replace(tiny_dataset, source=source), path)
    check_replaceable(path)


@pytest.mark.parametrize("kind", ["own", "damaged", "text", "empty", "without a source"])
def test_any_other_file_is_not_replaced(own, one_line, kind):
    match kind:
        case "damaged":
            own.write_bytes(own.read_bytes()[:-30])
        case "text":
            own.write_text("notes")
        case "empty":
            own.write_bytes(b"")
        case "without a source":
            with own.open("wb") as file:
                np.savez(file, x=np.zeros(3))
    digest = hashlib.sha256(own.read_bytes()).digest()
    with pytest.raises(UserError) as caught:
        check_replaceable(own)
    message = one_line(caught.value)
    assert str(own) in message
    assert "is not replaced; move it away" in message
    if kind == "own":
        assert "holds images from 'my garden', was not written by this stage" in message
    assert hashlib.sha256(own.read_bytes()).digest() == digest
