"""Each stage starts as a module and as a file; the second needs the project to be installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

STAGES = ("download", "check", "train", "evaluate", "attention", "report")


ERROR = "error: params.yaml: sead is not a setting; did you mean seed?"
RUN_FILES = """
import runpy, sys
folder, *stages = sys.argv[1:]
sys.path[0] = folder  # as Python does when it runs a file there
for stage in stages:
    try:
        runpy.run_path(f"{folder}/{stage}.py", run_name="__main__")
    except SystemExit as end:
        print(stage, end.code)
"""


def run_with_wrong_settings(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "params.yaml").write_text("sead: 3\n", "utf-8")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_each_stage_starts_as_a_file(project, tmp_path):
    # With stages/ first on the path of modules, none of its names may hide another module.
    command = ["-c", RUN_FILES, str(project / "stages"), *STAGES]
    run = run_with_wrong_settings(command, tmp_path)
    assert run.stdout.splitlines() == [f"{stage} 1" for stage in STAGES]
    assert [line.startswith(ERROR) for line in run.stderr.splitlines()] == [True] * len(STAGES)


def test_stage_starts_as_a_module_outside_of_the_project(tmp_path):
    run = run_with_wrong_settings(["-m", "stages.check"], tmp_path)
    assert (run.returncode, len(run.stderr.splitlines())) == (1, 1)
    assert run.stderr.startswith(ERROR)


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
