import shutil
from pathlib import Path

import pytest
import yaml

from vit_hk.errors import UserError
from vit_hk.params import load_config
from vit_hk.training import code_identity, inputs
from vit_hk.training.inputs import check_unchanged, read_inputs

DATASET = Path("dataset.npz")


@pytest.fixture
def folder(project, tmp_path, monkeypatch) -> Path:
    """Go to a folder with params.yaml, a data set and weights to start from."""
    shutil.copy(project / "params.yaml", tmp_path)
    (tmp_path / "start.safetensors").write_bytes(b"weights")
    (tmp_path / DATASET).write_bytes(b"digits")
    monkeypatch.chdir(tmp_path)
    edit(train={"init_from": "start.safetensors"})
    return tmp_path


def edit(**changes) -> None:
    path = Path("params.yaml")
    settings = yaml.safe_load(path.read_text("utf-8"))
    for section, values in changes.items():
        if isinstance(values, dict):
            settings[section] |= values
        else:
            settings[section] = values
    path.write_text(yaml.safe_dump(settings), "utf-8")


def read():
    return read_inputs(load_config(), DATASET, inputs._hash_code_now())


def replace_start() -> None:
    Path("start.safetensors").write_bytes(b"other weights")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda: edit(train={"epochs": 7}), "params.yaml"),
        (lambda: edit(model={"num_layers": 3}), "params.yaml"),
        (lambda: edit(seed=5), "params.yaml"),
        (lambda: edit(platform="cpu"), "params.yaml"),
        (lambda: Path("params.yaml").write_text("seed: ["), "params.yaml"),
        (lambda: DATASET.write_bytes(b"other digits"), "dataset.npz"),
        (DATASET.unlink, "dataset.npz"),
        (replace_start, "train.init_from (start.safetensors) or the content of that file"),
        (
            lambda: edit(train={"init_from": "models/random"}),
            "train.init_from (models/random) or the content of that file",
        ),
        (lambda: (edit(seed=5), DATASET.unlink()), "params.yaml, dataset.npz"),
    ],
    ids=[
        "train", "model", "seed", "platform", "no_yaml", "data", "no_data", "init_from",
        "no_init_from", "two",
    ],
)  # fmt: skip
@pytest.mark.usefixtures("folder")
def test_each_change_is_refused_and_named(one_line, change, named):
    before = read()
    change()
    with pytest.raises(UserError) as caught:
        check_unchanged(before, DATASET)
    assert one_line(caught.value).startswith(f"changed during the training: {named}; ")


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("files", ["changed", "gone"])
def test_changed_code_is_refused_and_named(monkeypatch, tmp_path, files):
    before = read()
    code = tmp_path / "code.py"
    if files == "changed":
        code.write_text("import numpy\n")
    monkeypatch.setattr(code_identity, "stage_code", lambda *_: [code])
    with pytest.raises(UserError, match="the code of the stage train; DVC would"):
        check_unchanged(before, DATASET)


@pytest.mark.usefixtures("folder")
def test_what_changes_no_result_may_change():
    before = read()
    shutil.copy("start.safetensors", "moved.safetensors")
    edit(train={"checkpoint_steps": 7, "init_from": "moved.safetensors"})
    edit(attention={"num_images": 5}, evaluate={"batch_size": 7})
    check_unchanged(before, DATASET)
