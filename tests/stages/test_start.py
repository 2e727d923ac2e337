"""Each stage starts as a module and as a file; the second needs the project to be installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

STAGES = ("download", "check", "train", "evaluate", "attention", "report")


def run_with_wrong_settings(command: list[str], folder: Path) -> tuple[int, str]:
    (folder / "params.yaml").write_text("sead: 3\n", "utf-8")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    run = subprocess.run(
        [sys.executable, *command],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return run.returncode, run.stderr


@pytest.mark.parametrize("stage", STAGES)
def test_stage_starts_as_a_file(project, tmp_path, stage):
    # Python puts stages/ first on its path there: none of its names may hide another module.
    code, error = run_with_wrong_settings([str(project / "stages" / f"{stage}.py")], tmp_path)
    assert code == 1
    assert error.startswith("error: params.yaml: sead is not a setting; did you mean seed?")
    assert len(error.splitlines()) == 1


def test_stage_starts_as_a_module_outside_of_the_project(tmp_path):
    code, error = run_with_wrong_settings(["-m", "stages.report"], tmp_path)
    assert (code, len(error.splitlines())) == (1, 1)
    assert error.startswith("error: params.yaml: sead is not a setting")


STATE = "print(gc.isenabled(), gc.get_freeze_count() > 10_000)"


@pytest.mark.parametrize(
    "start",
    [
        f"import stages.report; stages.run_stage(lambda: {STATE})",
        f"import runpy, sys; import vit_hk.commands.page as command; "
        f"command.run = lambda _: {STATE}; sys.argv = ['vit_hk', 'page', 'results']; "
        "gc.unfreeze(); runpy.run_module('vit_hk', run_name='__main__')",
    ],
    ids=["stage", "command"],
)
def test_garbage_is_collected_once_all_is_imported(start):
    run = subprocess.run(
        [sys.executable, "-c", f"import gc; {start}"], capture_output=True, text=True, check=False
    )
    assert run.stdout == "True True\n", run.stderr
