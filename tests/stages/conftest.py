"""A small project in which the stages run, as programs or in this process."""

import json
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from settings_file import change_settings

from vit_hk.dataset import Dataset, save_dataset

STAGES = ("train", "evaluate", "attention", "report")


class Ended(NamedTuple):
    """How a stage ended."""

    code: int
    out: str
    err: str


# Compiling takes most of the time, and code that runs for a moment need not be fast.
FAST_COMPILATION = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"


def run_program(stage: str, folder: Path, **environment: str) -> Ended:
    inherited = {name: value for name, value in os.environ.items() if name != "DVC_ROOT"}
    inherited["XLA_FLAGS"] = FAST_COMPILATION
    run = subprocess.run(
        [sys.executable, "-m", f"stages.{stage}"],
        cwd=folder, env=inherited | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return Ended(run.returncode, run.stdout, run.stderr)


@pytest.fixture(scope="session")
def program() -> Callable[..., Ended]:
    """Run a stage as dvc does: python -m stages.NAME in the project's folder."""
    return run_program


@pytest.fixture(scope="session")
def start(tmp_path_factory, project, tiny_dataset: Dataset) -> Callable[[dict[str, Any]], Path]:
    """Make a project with these settings and the tiny data, and nothing trained."""

    def make(settings: dict[str, Any]) -> Path:
        folder = tmp_path_factory.mktemp("project")
        for package in ("stages", "vit_hk"):
            shutil.copytree(
                project / package, folder / package, ignore=shutil.ignore_patterns("__pycache__")
            )
        (folder / "params.yaml").write_text(yaml.safe_dump(settings), "utf-8")
        save_dataset(tiny_dataset, folder / "data" / "dataset.npz")
        return folder

    return make


@pytest.fixture(scope="session")
def finished(shared, start, settings_of_tests) -> tuple[Path, dict[str, Ended]]:
    """A project after train, evaluate and attention, and what they printed. Do not change it."""

    def make(folder: Path) -> None:
        start(settings_of_tests).rename(folder)
        ended = {stage: run_program(stage, folder) for stage in STAGES}
        record(folder).write_text(json.dumps(ended))

    def record(folder: Path) -> Path:
        return folder.with_suffix(".json")

    folder = shared("finished", make)
    ended = json.loads(record(folder).read_text())
    return folder, {stage: Ended(*values) for stage, values in ended.items()}


@pytest.fixture
def copy(finished, tmp_path) -> Path:
    """A copy of the finished project, free to be changed."""
    folder = tmp_path / "project"
    shutil.copytree(finished[0], folder, ignore=shutil.ignore_patterns("stages", "vit_hk"))
    return folder


@pytest.fixture
def here(monkeypatch, capfd) -> Callable[..., Ended]:
    """Run a stage in this process, where JAX is imported already."""

    def run(stage: str, folder: Path, **environment: str) -> Ended:
        monkeypatch.chdir(folder)
        monkeypatch.delenv("DVC_ROOT", raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.delitem(sys.modules, f"stages.{stage}", raising=False)
        capfd.readouterr()
        code = 0
        try:
            runpy.run_module(f"stages.{stage}", run_name="__main__")
        except SystemExit as end:
            code = end.code
        return Ended(code, *capfd.readouterr())

    return run


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not {"__pycache__", ".scratch"} & {*path.parts}
    }


@pytest.fixture
def refused() -> Callable[..., str]:
    """Run a stage that must refuse; give its one line.

    All files must be as before: nothing new, nothing changed, nothing gone.
    """

    def check(run: Callable[..., Ended], stage: str, folder: Path) -> str:
        before = content(folder)
        ended = run(stage, folder)
        lines = ended.err.splitlines()
        assert ended.code == 1
        assert len(lines) == 1, ended.err
        assert lines[0].startswith("error: ")
        assert content(folder) == before
        return lines[0]

    return check


@pytest.fixture
def edit(copy) -> Callable[..., None]:
    """Set dotted keys (with __ for the dot) in params.yaml of the copy."""

    def change(**values: Any) -> None:
        change_settings(copy / "params.yaml", values)

    return change
