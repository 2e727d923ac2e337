"""Stages with missing folders, a full disk, too little memory, or a minimal environment."""

import dataclasses
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from folder_content import folder_content
from mirror_server import closed_port
from small_disk import disk_of

import vit_hk.data.sources.load
import vit_hk.runtime.memory
from vit_hk.data.dataset import save_dataset
from vit_hk.environment import check_environment
from vit_hk.errors import UserError
from vit_hk.params import ModelSettings
from vit_hk.weights import load_weights, save_weights

OUTPUTS = {
    "download": "data/dataset.npz",
    "check": "data/checked.txt",
    "train": "models/vit.safetensors",
    "evaluate": "results/metrics.json",
    "attention": "results/attention/attention.npz",
    "report": "results/report.html",
}
# No home, no display, a matplotlib backend that does not exist, and ASCII output only.
MINIMAL_ENVIRONMENT = {
    "MPLBACKEND": "nonsense",
    "LC_ALL": "C",
    "PYTHONIOENCODING": "ascii",
    "http_proxy": closed_port(),
    "https_proxy": closed_port(),
}


@pytest.mark.parametrize("value", ["abc", "", "0", "1.5", "²", "-2", "4097", "3000000000"])
def test_number_of_devices_that_is_none_is_refused(monkeypatch, one_line, value):
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", value)
    with pytest.raises(UserError) as caught:
        check_environment()
    assert one_line(caught.value) == (
        f"JAX_NUM_CPU_DEVICES is {value!r}; allowed: a whole number from 1 to 4,096; "
        "unset it, and each core is a device"
    )


def test_number_of_devices_that_is_none_ends_a_stage_before_it_imports_jax(program, copy, project):
    ended = program("train", copy, PYTHONPATH=str(project), JAX_NUM_CPU_DEVICES="abc")
    assert ended.code == 1
    assert ended.err.startswith("error: JAX_NUM_CPU_DEVICES is 'abc'; allowed")
    assert ended.err.count("\n") == 1


def test_numpy_has_one_thread_in_a_stage_so_that_its_sums_do_not_depend_on_the_cores(project):
    code = (
        "import stages, numpy, threadpoolctl\n"
        "print([library['num_threads'] for library in threadpoolctl.threadpool_info()])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=project, env=os.environ | {"OPENBLAS_NUM_THREADS": "8"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert ended.stdout == "[1]\n"


@pytest.mark.parametrize("stage", OUTPUTS)
def test_output_that_cannot_be_written_is_reported_before_the_work(
    here, refused, copy, monkeypatch, stage
):
    def fail(*_: object) -> None:
        raise ValueError("the work was started")

    monkeypatch.setattr("jax.local_devices", fail)
    monkeypatch.setattr(vit_hk.data.sources.load, "load_source", fail)
    folder = copy / OUTPUTS[stage].split("/")[0]
    if stage in ("download", "check"):
        shutil.rmtree(folder)
    else:
        folder.rename(copy / "moved")
    folder.write_text("a file")
    line = refused(here, stage, copy)
    assert f"{OUTPUTS[stage]} could not be written: Not a directory; move the file away" in line


@pytest.mark.filterwarnings("ignore:Error writing persistent compilation cache entry")
@pytest.mark.parametrize(
    ("stage", "first", "large"),
    [
        ("evaluate", "results/metrics.json", "results/faithfulness.csv"),
        ("attention", "results/attention/attention.npz", "results/attention/images/01.png"),
        ("report", "results/figures/confusion.png", "results/report.html"),
    ],
)
def test_disk_that_fills_up_leaves_each_file_old_or_complete(here, copy, stage, first, large):
    complete = folder_content(copy)
    for name in (first, large):
        (copy / name).write_text("old")
    before = folder_content(copy)
    with disk_of(len(complete[large]) - 1):
        ended = here(stage, copy)
    assert ended.code == 1
    assert "Traceback" not in ended.err
    last = ended.err.splitlines()[-1]
    found = re.fullmatch("error: (.*) could not be written: File too large; free .* there", last)
    after = folder_content(copy)
    assert after.keys() == before.keys()
    assert after[found[1]] == before[found[1]]
    # A file that was written before the disk was full is new.
    assert after[first] == complete[first]
    assert all(data in (before[name], complete[name]) for name, data in after.items())


@pytest.mark.parametrize(
    ("stage", "advice"),
    [
        # The attention of one image does not fit, whatever the batch.
        ("evaluate", "raise model.patch_size, or lower model.num_layers or model.num_heads"),
        ("attention", "lower in params.yaml: evaluate.batch_size, attention.num_images, "),
    ],
)
def test_too_little_memory_names_the_settings_to_change(
    here, refused, copy, monkeypatch, stage, advice
):
    monkeypatch.setattr(vit_hk.runtime.memory, "free_bytes", lambda _: 100)
    line = refused(here, stage, copy)
    assert "not enough memory (at least " in line
    assert advice in line


def test_model_that_fits_no_memory_is_refused_before_it_is_created(here, refused, copy, edit):
    # 4 TiB of weights.
    edit(model__hidden_size=10**6, model__mlp_dim=10**6)
    line = refused(here, "train", copy)
    assert "GiB are needed" in line
    assert "lower in params.yaml: train.batch_size, model.num_heads, model.hidden_size, " in line


def test_failed_allocation_in_training_is_reported_in_one_line(here, copy, edit, monkeypatch):
    # As outside of Linux, where the system does not report free memory.
    monkeypatch.setattr(vit_hk.runtime.memory, "free_bytes", lambda _: None)
    edit(model__hidden_size=10**6, model__mlp_dim=10**6)
    before = folder_content(copy)
    ended = here("train", copy)
    assert ended.code == 1
    (line,) = ended.err.splitlines()
    assert "not enough memory (" in line
    assert "lower in params.yaml: train.batch_size, " in line
    assert folder_content(copy) == before


@pytest.fixture
def non_ascii(finished, copy, monkeypatch, tiny_dataset, settings_of_tests) -> Path:
    """Return the finished project with class names, source and folder name outside ASCII."""
    names, source = ("links, oben", "mitté", "×→…"), "NPZ file: été"
    save_dataset(
        dataclasses.replace(tiny_dataset, class_names=names, source=source),
        copy / "data" / "dataset.npz",
    )
    path = copy / "models" / "vit.safetensors"
    settings = ModelSettings(**settings_of_tests["model"])
    weights, info, calibration = load_weights(path, settings, tiny_dataset)
    info = info.model_copy(update={"class_names": list(names), "source": source})
    save_weights(path, weights, info, calibration)
    for package in ("stages", "vit_hk"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(finished[0] / package, copy / package, ignore=ignore)
    for name in ("HOME", "DISPLAY", "WAYLAND_DISPLAY", "PYTHONUTF8"):
        monkeypatch.delenv(name, raising=False)
    return copy.rename(copy.parent / "mein Projékt …")


RUN_STAGES = """
import runpy, sys
for stage in sys.argv[1:]:
    runpy.run_module(f"stages.{stage}", run_name="__main__")
"""


def test_minimal_environment_and_non_ascii_names_work(program, non_ascii):
    stages = ("check", "evaluate", "attention", "report")
    run = subprocess.run(
        [sys.executable, "-c", RUN_STAGES, *stages], cwd=non_ascii, capture_output=True, text=True,
        check=False, env=os.environ | MINIMAL_ENVIRONMENT,
    )  # fmt: skip
    assert (run.returncode, run.stderr) == (0, "")
    ended = program("download", non_ascii, **MINIMAL_ENVIRONMENT)
    assert (ended.code, ended.err) == (0, "")
    assert r"\u2026" in ended.out  # in the warning about the offline sample
    assert "mitté,×→…" in (non_ascii / "results" / "predictions.csv").read_text("utf-8")
    assert '\n"links, oben",' in (non_ascii / "results" / "per_class.csv").read_text("utf-8")


def test_ascii_file_names_are_refused_in_one_line(program, refused, non_ascii):
    environment = MINIMAL_ENVIRONMENT | {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    line = refused(lambda *run: program(*run, **environment), "train", non_ascii)
    assert "unset PYTHONUTF8, or set LC_ALL=C.UTF-8" in line
