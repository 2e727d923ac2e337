import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from project_clone import Clone
from synthetic_results import write_results

from vit_hk.__main__ import main
from vit_hk.errors import one_line_errors
from vit_hk.report.mailed_page import SLOTS
from vit_hk.timing import record_timing
from vit_hk.weights_metadata import weights_digest

OUTPUTS = ("data/dataset.npz", "models/vit.safetensors", "results/history.csv", "results/attention")
TABLES = (
    "metrics.json", "predictions.csv", "per_class.csv", "faithfulness.csv", "corruptions.csv",
)  # fmt: skip
# One stage stands for all: only what it writes, and where it is kept, matters here.
STAGE = {
    "cmd": "true",
    "outs": [*OUTPUTS[:3], "results/attention/attention.npz", "results/report.html"],
    "metrics": [{f"results/{name}": {"cache": False}} for name in TABLES],
}


@pytest.fixture(scope="session")
def run_settings(settings_of_tests) -> dict[str, Any]:
    """Return the settings of the committed run: a class token, 2 layers, 2 heads, 2 x 3 patches."""
    model = settings_of_tests["model"] | {"pool": "cls", "registers": 0}
    return copy.deepcopy({**settings_of_tests, "model": model})


@pytest.fixture(scope="session")
def project_of_runs(shared, tmp_path_factory, run_settings) -> Clone:
    """Return a repository with a committed run and an experiment `deeper`; do not change it.

    The experiment has a third layer, and fewer mistakes on the same test images.
    """
    made = shared("project of runs", lambda folder: make_project_of_runs(folder, run_settings))
    # Each test process has one of its own.
    return Clone(made).copy(tmp_path_factory.mktemp("runs") / "mein Projékt")


def make_project_of_runs(folder: Path, settings: dict[str, Any]) -> None:
    write_results(folder, settings, wrong=0.2)
    write_page(folder, seconds=90.25)
    clone = Clone(folder)
    clone.run("git", "init", "--quiet", "--initial-branch=main")
    clone.run("dvc", "init", "--quiet")
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"all": STAGE}}), "utf-8")
    clone.run("dvc", "commit", "--force", "--quiet")
    clone.run("git", "add", "--all")
    clone.run("git", "commit", "--quiet", "--message=first")
    model = settings["model"] | {"num_layers": 3}
    replace_results(folder, {**settings, "model": model}, wrong=0.1)
    write_page(folder, seconds=1234.5)
    clone.run("dvc", "exp", "save", "--force", "--name", "deeper")
    clone.run("git", "checkout", "--quiet", "--force", "main")
    clone.run("dvc", "checkout", "--force", "--quiet")


@pytest.fixture
def run_command(monkeypatch, capfd) -> Callable[..., str]:
    """Return a function that runs a command in a folder, and returns what it printed."""

    def run(command: str, folder: Path, *arguments: str, expect: int = 0) -> str:
        monkeypatch.chdir(folder)
        capfd.readouterr()
        code = 0
        try:
            with one_line_errors():
                main([command, *arguments])
        except SystemExit as end:
            code = end.code
        printed = capfd.readouterr()
        assert code == expect, printed
        return printed.out + printed.err

    return run


@pytest.fixture
def runs(project_of_runs, tmp_path) -> Clone:
    """Return a copy of the repository that a test may change."""
    return project_of_runs.copy(tmp_path / "mein Projékt")


def write_page(folder: Path, seconds: float) -> None:
    """Write a page with what the command `page` reads of one, and times with its weights."""
    digest = weights_digest(folder / "models/vit.safetensors")
    measured = {"train_seconds": seconds, "images_per_second": 15450.4}
    record_timing(folder / "results/timing.json", "train", digest, measured)
    slots = "".join(f"<!-- {slot} -->out<!-- end of {slot} -->" for slot in SLOTS)
    page = f'<title>80 %</title><meta name="weights" content="{digest}">{slots}'
    (folder / "results/report.html").write_text(page, "utf-8")


def replace_results(folder: Path, settings: dict[str, Any], **options: Any) -> None:
    """Write the results of another run into a project folder."""
    other = folder.parent / "other"
    write_results(other, settings, **options)
    shutil.copytree(other, folder, dirs_exist_ok=True)
    shutil.rmtree(other)


@pytest.fixture(scope="session")
def write_other_run() -> Callable[..., None]:
    return replace_results
