"""A small project in which stages run, as programs or in this process."""

import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from folder_content import folder_content
from settings_file import change_settings

from vit_hk.data.dataset import Dataset, save_dataset
from vit_hk.training.interruption import SIGNALS

STAGES = ("train", "evaluate", "attention", "report")
CODE = ("stages", "vit_hk")


class StageRun(NamedTuple):
    """The exit code of a stage and what it printed."""

    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch) -> None:
    """Start each test outside of the project: stages write below the current folder, and remove."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def signal_handlers() -> Iterator[None]:
    """Restore the handlers of signals, which `train` ignores from its last write on."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def run_program(stage: str, folder: Path, **environment: str) -> StageRun:
    inherited = {name: value for name, value in os.environ.items() if name != "DVC_ROOT"}
    run = subprocess.run(
        [sys.executable, "-m", f"stages.{stage}"],
        cwd=folder, env=inherited | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return StageRun(run.returncode, run.stdout, run.stderr)


@pytest.fixture(scope="session")
def program() -> Callable[..., StageRun]:
    """Return a function that runs a stage as DVC does: python -m stages.NAME."""
    return run_program


@pytest.fixture(scope="session")
def start(tmp_path_factory, project, tiny_dataset: Dataset) -> Callable[[dict[str, Any]], Path]:
    """Return a function that creates an untrained project with the tiny data set."""

    def create(settings: dict[str, Any]) -> Path:
        folder = tmp_path_factory.mktemp("project")
        for name in (*CODE, "recipes"):
            (folder / name).symlink_to(project / name)
        shutil.copy(project / "dvc.yaml", folder)
        (folder / "params.yaml").write_text(yaml.safe_dump(settings), "utf-8")
        save_dataset(tiny_dataset, folder / "data" / "dataset.npz")
        return folder

    return create


@pytest.fixture(scope="session")
def finished(shared, start, settings_of_tests) -> tuple[Path, dict[str, StageRun]]:
    """Return a project after all STAGES, and their runs; do not change it."""

    def create(folder: Path) -> None:
        start(settings_of_tests).rename(folder)
        runs = {stage: run_program(stage, folder) for stage in STAGES}
        record(folder).write_text(json.dumps(runs))

    def record(folder: Path) -> Path:
        return folder.with_suffix(".json")

    folder = shared("finished", create)
    runs = json.loads(record(folder).read_text())
    return folder, {stage: StageRun(*values) for stage, values in runs.items()}


@pytest.fixture
def copy(finished, tmp_path) -> Path:
    """Return a copy of the finished project without its code, which a test may change."""
    folder = tmp_path / "project"
    shutil.copytree(finished[0], folder, ignore=shutil.ignore_patterns(*CODE))
    return folder


@pytest.fixture
def here(monkeypatch, capfd) -> Callable[..., StageRun]:
    """Return a function that runs a stage in this process, where JAX is imported already."""

    def run(stage: str, folder: Path, **environment: str) -> StageRun:
        monkeypatch.chdir(folder)
        monkeypatch.delenv("DVC_ROOT", raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.delitem(sys.modules, f"stages.{stage}", raising=False)
        capfd.readouterr()
        code = 0
        try:
            runpy.run_module(f"stages.{stage}", run_name="__main__")
        except SystemExit as exit_:
            code = exit_.code
        return StageRun(code, *capfd.readouterr())

    return run


@pytest.fixture
def refused() -> Callable[..., str]:
    """Return a function that runs a stage, which must fail, and returns its one error line.

    It checks that no file was created, changed or deleted.
    """

    def check(run: Callable[..., StageRun], stage: str, folder: Path) -> str:
        before = folder_content(folder)
        ended = run(stage, folder)
        lines = ended.err.splitlines()
        assert ended.code == 1
        assert len(lines) == 1, ended.err
        assert lines[0].startswith("error: ")
        assert folder_content(folder) == before
        return lines[0]

    return check


@pytest.fixture
def edit(copy) -> Callable[..., None]:
    """Return a function that sets keys in params.yaml of the copy; `a__b` stands for a.b."""

    def change(**values: Any) -> None:
        change_settings(copy / "params.yaml", values)

    return change
