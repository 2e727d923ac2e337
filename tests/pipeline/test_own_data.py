"""Images of one's own under every command of DVC: the file keeps its bytes, the results name it."""

import json

import numpy as np
import pytest
from project_clone import Clone

from vit_hk.data.dataset import Dataset, save_dataset

NAME = "leaves"


def write_own_file(path) -> bytes:
    random = np.random.default_rng(0)
    y = np.arange(60, dtype=np.int32) % 3
    x = random.integers(0, 256, (60, 28, 28, 1), dtype=np.uint8)
    save_dataset(Dataset(x, y, x[:12], y[:12], NAME, "my garden", ("ash", "oak", "yew")), path)
    return path.read_bytes()


def assert_own(clone: Clone, path, content: bytes) -> None:
    """Check that the file is unchanged and that the metrics in the workspace are about it."""
    assert path.read_bytes() == content
    metrics = json.loads(clone.read("results/metrics.json"))
    assert (metrics["data"], metrics["source"]) == (NAME, "NPZ file: my garden")
    assert metrics["test"]["examples"] == 12


def test_own_file_under_every_command(reproduced, tmp_path):
    path = tmp_path / "own.npz"
    content = write_own_file(path)
    # DVC 3.67's queue writes the path of the project as ASCII.
    clone = reproduced.copy(tmp_path / "project")
    clone.set(data__name="npz", data__root=str(path), train__batch_size=10)
    assert clone.repro("evaluate") == ["download", "check", "train", "evaluate"]
    assert_own(clone, path, content)
    assert clone.changed_stages("evaluate") == set()
    clone.run("git", "add", "--all")
    clone.run("git", "commit", "--quiet", "--message=own data")

    clone.run("dvc", "repro", "--force", "--single-item", "download")  # which reads the file
    assert_own(clone, path, content)
    run = ("dvc", "exp", "run", "--force")
    for name, setting in (("one", "num_images=1"), ("right", "num_wrong=0")):  # the same training
        changes = ("-S", f"attention.{setting}", "-S", "train.epochs=2")
        clone.run(*run, "train", "--queue", "--name", name, *changes)
    clone.run("dvc", "exp", "run", "--run-all", "--jobs", "2")
    clone.run(*run, "check", "--temp", "--name", "temporary", "-S", "seed=2")
    assert clone.run("git", "status", "--porcelain") == ""
    clone.run(*run, "check", "--name", "here", "-S", "evaluate.faithfulness_share=0.1")
    assert_own(clone, path, content)
    rows = clone.experiments()
    for name in ("one", "right", "temporary", "here"):
        assert rows[name]["State"] in ("", "Success")
        assert rows[name]["data.name"] == "npz"
        assert float(rows[name]["test.examples"]) == 12
    assert rows["one"]["attention.num_images"] == "1"
    assert rows["right"]["attention.num_wrong"] == "0"
    clone.run("dvc", "exp", "apply", "temporary")
    assert_own(clone, path, content)
    clone.run("dvc", "checkout", "--force")
    assert_own(clone, path, content)


def test_file_in_the_place_of_the_data_set_is_neither_replaced_nor_removed(reproduced, tmp_path):
    clone = reproduced.copy(tmp_path / "project")
    dataset = clone.folder / "data" / "dataset.npz"
    dataset.unlink()  # it may be a link into the cache
    content = write_own_file(dataset)
    weights = clone.read("models/vit.safetensors")
    for command in (["dvc", "repro"], ["dvc", "repro", "--force", "download"]):
        printed = clone.run(*command, expect=255)
        assert "data/dataset.npz holds images from 'my garden', was not written by this" in printed
        assert "name it in params.yaml: data.name: npz, data.root: PATH" in printed
        assert dataset.read_bytes() == content
        assert clone.read("models/vit.safetensors") == weights


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"attention__images": [1000]}, "attention.images holds 1000, the test set has 1,000"),
        ({"data__name": "npz", "data__root": "params.yaml"}, "params.yaml is damaged"),
    ],
    ids=["data set", "own file"],
)
def test_mistake_in_the_settings_costs_no_result(clone, change, problem):
    folders = ("data", "models", "results")
    files = [file for folder in folders for file in (clone.folder / folder).rglob("*")]
    before = {
        file: file.read_bytes()
        for file in [clone.folder / "dvc.lock", *files]
        if file.is_file() and file.name != "checked.txt"
    }
    clone.set(**change)
    printed = clone.run("dvc", "repro", expect=255)
    (error,) = (line for line in printed.splitlines() if line.startswith("error: "))
    assert problem in error
    assert "Traceback" not in printed
    assert {file: file.read_bytes() for file in before} == before
