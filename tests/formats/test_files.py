"""Files of other libraries that are damaged, hostile or of other kinds."""

import errno
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from safetensors.numpy import save

from vit_hk.errors import UserError
from vit_hk.formats.files import (
    CONFIG,
    TENSORS,
    find_in_folder,
    open_npz,
    open_safetensors,
    read_config,
)
from vit_hk.weights_metadata import MAX_HEADER


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["config.json", "pytorch_model.bin"], r"pytorch_model\.bin is a pickle"),
        (["config.json", "model.pth"], r"model\.pth is a pickle"),
        (["config.json", "optimizer.pt", "pytorch_model.bin"], r"pytorch_model\.bin is a pickle"),
        (["config.json", "model-00001-of-00002.safetensors", "training_args.bin"],
         r"model\.safetensors is not there"),
        (["model.safetensors", "pytorch_model.bin"], r"config\.json is not there"),
        ([], r"model\.safetensors is not there"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_what_a_folder_lacks_is_named(names, message, tmp_path, one_line):
    for name in names:
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(UserError, match=message) as error:
        [find_in_folder(tmp_path, name) for name in (TENSORS, CONFIG)]
    one_line(error.value)


@pytest.mark.parametrize("name", ["nowhere", "nowhere.bin"])
def test_a_folder_that_is_not_there_is_no_pickle(name, tmp_path, one_line):
    with pytest.raises(UserError, match=rf"{name} is not there; name the folder with") as error:
        find_in_folder(tmp_path / name, CONFIG)
    one_line(error.value)


class Config(BaseModel):
    name: str
    count: int = 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a configuration"),
        (b"\xff\xfe", "not a configuration"),
        (b"[" * 100_000, "not a configuration"),
        (b"[]", "valid dictionary"),
        (b"{}", "has no key name; name a folder that"),
        (b'{"name": "a", "count": "many"}', "count is 'many'"),
        (b" " * 10_000_001, "more than 10,000,000 bytes"),
    ],
    ids=["empty", "no text", "nested", "list", "missing", "wrong", "huge"],
)
def test_damaged_configurations_are_refused(content, message, tmp_path, one_line):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read_config(path, Config)
    assert str(path) in one_line(error.value)


@pytest.mark.parametrize(
    "read", [lambda path: read_config(path, Config), open_safetensors, open_npz]
)
def test_files_that_may_not_be_read_are_not_called_damaged(read, tmp_path, monkeypatch, one_line):
    path = tmp_path / "file"
    path.write_bytes(b"{}")

    def refuse(*_, **__):  # root, as whom tests may run, reads everything
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UserError) as error:
        read(path)
    line = one_line(error.value)
    assert line == f"{path} could not be read: Permission denied; make it readable"


def test_float16_is_read_as_float32(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(save({"a": np.array([[1.5, -2.0]], np.float16)}))
    file = open_safetensors(path)
    assert file.shapes == {"a": (1, 2)}
    tensor = file.load("a")
    assert tensor.dtype == np.float32
    assert tensor.tolist() == [[1.5, -2.0]]


def test_other_types_and_huge_headers_are_refused(tmp_path, one_line):
    path = tmp_path / "model.safetensors"
    path.write_bytes(save({"a": np.zeros(2, np.float64)}))
    with pytest.raises(UserError, match="'a' is F64; allowed: F16, F32") as error:
        open_safetensors(path)
    one_line(error.value)
    path.write_bytes((MAX_HEADER + 1).to_bytes(8, "little") + b"{}")
    with pytest.raises(UserError, match="its header claims 8,388,609 bytes"):
        open_safetensors(path)


@pytest.mark.parametrize("read", [open_safetensors, open_npz])
def test_a_pointer_of_git_lfs_is_named(read, tmp_path):
    path = tmp_path / "model"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 346284714\n")
    with pytest.raises(
        UserError, match=r"model is a pointer of Git LFS; fetch the file with: git lfs pull$"
    ):
        read(path)


@pytest.fixture(scope="module")
def valid(tmp_path_factory):
    """Return a folder, and the bytes of a valid file of each kind."""
    folder = tmp_path_factory.mktemp("files")
    arrays = {"a/kernel": np.ones((2, 3), np.float32), "b": np.zeros(4, np.float32)}
    np.savez(folder / "model.npz", **arrays)
    return folder, save(arrays), (folder / "model.npz").read_bytes()


@pytest.mark.parametrize("kind", ["safetensors", "npz"])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_one_line_or_still_valid(valid, kind, data):
    folder, tensors, archive = valid
    raw = bytearray(tensors if kind == "safetensors" else archive)
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path = folder / f"damaged.{kind}"
    path.write_bytes(raw[: data.draw(st.integers(0, len(raw)))])
    message = f"{path} is read"
    try:
        file = (open_safetensors if kind == "safetensors" else open_npz)(path)
        for name, shape in file.shapes.items():
            assert file.load(name).shape == shape
    except UserError as error:
        message = str(error)
    assert len(message.splitlines()) == 1
    assert str(path) in message


def test_keys_of_a_configuration_are_quoted_in_one_line(tmp_path, one_line):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"name": ["line\nbreak"]}))
    with pytest.raises(UserError) as error:
        read_config(path, Config)
    one_line(error.value)
