"""Stages where a folder is missing, the disk is full, memory is short, or the system is bare."""

import dataclasses
import json
import re
import shutil
from pathlib import Path

import pytest
from mirror_server import closed_port
from small_disk import disk_of

import vit_hk.memory
import vit_hk.sources
from vit_hk.dataset import save_dataset
from vit_hk.params import ModelSettings
from vit_hk.weights import load_weights, save_weights

OUTPUTS = {
    "download": "data/dataset.npz",
    "train": "models/vit.safetensors",
    "evaluate": "results/metrics.json",
    "attention": "results/attention/attention.npz",
}
# No home, no display, a backend of matplotlib that does not exist, no letter outside ASCII.
BARE = {
    "MPLBACKEND": "nonsense",
    "LC_ALL": "C",
    "PYTHONIOENCODING": "ascii",
    "http_proxy": closed_port(),
    "https_proxy": closed_port(),
}


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".scratch" not in path.parts
    }


@pytest.mark.parametrize("stage", ["train", "evaluate", "attention", "download"])
def test_output_that_cannot_be_written_is_found_at_the_start(
    here, refused, copy, monkeypatch, stage
):
    def fail(*_: object) -> None:
        raise AssertionError("the work was started")

    monkeypatch.setattr("jax.devices", fail)
    monkeypatch.setattr(vit_hk.sources, "load_source", fail)
    folder = copy / OUTPUTS[stage].split("/")[0]
    if stage == "download":
        shutil.rmtree(folder)
    else:
        folder.rename(copy / "kept")
    folder.write_text("a file")
    line = refused(here, stage, copy)
    assert f"{OUTPUTS[stage]} could not be written: Not a directory; make room or rights" in line


def test_disk_that_fills_up_during_evaluation_leaves_whole_files(here, copy):
    before = content(copy)
    with disk_of((copy / "results" / "per_class.png").stat().st_size // 2):
        ended = here("evaluate", copy)
    assert ended.code == 1
    assert "Traceback" not in ended.err
    last = ended.err.splitlines()[-1]
    found = re.fullmatch("error: (.*) could not be written: File too large; make .* there", last)
    after = content(copy)
    assert after.keys() == before.keys()
    assert after[found[1]] == before[found[1]]
    # What came before it is new and whole.
    assert json.loads(after["results/metrics.json"])["test"]["examples"] == 18
    assert len(after["results/confusion.csv"].splitlines()) == 19
    pictures = [data for name, data in after.items() if name.endswith(".png")]
    assert all(data.endswith(b"IEND\xaeB`\x82") for data in pictures)


@pytest.mark.parametrize("stage", ["evaluate", "attention"])
def test_short_memory_names_the_settings_to_lower(here, refused, copy, monkeypatch, stage):
    monkeypatch.setattr(vit_hk.memory, "free_bytes", lambda _: 100)
    line = refused(here, stage, copy)
    assert "not enough memory (at least " in line
    assert "lower in params.yaml: evaluate.batch_size, " in line


def test_model_that_no_memory_can_hold_is_refused_before_it_is_made(here, refused, copy, edit):
    # 4 TiB of weights.
    edit(model__hidden_size=10**6, model__mlp_dim=10**6)
    line = refused(here, "train", copy)
    assert "GiB are needed" in line
    assert "lower in params.yaml: train.batch_size, model.hidden_size, " in line


def test_allocation_that_fails_in_training_is_told_in_one_line(here, copy, edit, monkeypatch):
    # Where nothing is known of free memory, as outside of Linux.
    monkeypatch.setattr(vit_hk.memory, "free_bytes", lambda _: None)
    edit(model__hidden_size=10**6, model__mlp_dim=10**6)
    before = content(copy)
    ended = here("train", copy)
    assert ended.code == 1
    (line,) = ended.err.splitlines()
    assert "not enough memory (" in line
    assert "lower in params.yaml: train.batch_size, " in line
    assert content(copy) == before


@pytest.fixture
def foreign(finished, copy, monkeypatch, tiny_dataset, settings_of_tests) -> Path:
    """The finished project with names outside ASCII, in a folder with such a name."""
    names, source = ("links", "mitté", "×→…"), "été"
    save_dataset(
        dataclasses.replace(tiny_dataset, class_names=names, source=source),
        copy / "data" / "dataset.npz",
    )
    path = copy / "models" / "vit.safetensors"
    weights, info = load_weights(path, ModelSettings(**settings_of_tests["model"]), tiny_dataset)
    save_weights(
        path, weights, info.model_copy(update={"class_names": list(names), "source": source})
    )
    for package in ("stages", "vit_hk"):
        shutil.copytree(finished[0] / package, copy / package)
    for name in ("HOME", "DISPLAY", "WAYLAND_DISPLAY", "PYTHONUTF8"):
        monkeypatch.delenv(name, raising=False)
    return copy.rename(copy.parent / "mein Projékt …")


def test_bare_system_and_foreign_letters_are_no_hindrance(program, foreign):
    for stage in ("evaluate", "attention", "download"):
        ended = program(stage, foreign, **BARE)
        assert (ended.code, ended.err) == (0, ""), stage
    assert r"\u2026" in ended.out  # of the warning about the offline sample
    assert "mitté,×→…" in (foreign / "results" / "confusion.csv").read_text("utf-8")


def test_ascii_file_names_end_in_one_line(program, refused, foreign):
    environment = BARE | {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    line = refused(lambda *run: program(*run, **environment), "train", foreign)
    assert "unset PYTHONUTF8, or set LC_ALL=C.UTF-8" in line
