"""Real kills of real runs; `make chaos` is the long form."""

import os
import shutil
import signal
import subprocess

import pytest
from kills import DVC, TRAINER, Kills, find_trainer, wait_for
from project_clone import Clone, outputs

LONGER = {"train__epochs": 12, "train__checkpoint_steps": 20}
TRAIN = [*DVC, "train"]


@pytest.fixture(scope="module")
def whole(reproduced, tmp_path_factory) -> Clone:
    """A project after a longer training that nothing interrupted. Do not change it."""
    folder = tmp_path_factory.mktemp("whole") / "project"
    shutil.copytree(reproduced.folder, folder, symlinks=True)
    clone = Clone(folder)
    clone.set(**LONGER)
    assert clone.repro("train") == ["train"]
    return clone


@pytest.fixture
def clone(reproduced, tmp_path) -> Clone:
    """A project at another path with the settings of `whole`, not trained with them yet."""
    # DVC 3.67 runs no experiment beside the workspace where a path has letters outside ASCII.
    folder = tmp_path / "elsewhere"
    shutil.copytree(
        reproduced.folder, folder, symlinks=True, ignore=shutil.ignore_patterns(".scratch")
    )
    clone = Clone(folder)
    clone.set(**LONGER)
    return clone


@pytest.mark.parametrize(("command", "count"), [(TRAINER, 3), (TRAIN, 3)], ids=["trainer", "dvc"])
def test_killed_runs_end_with_the_bytes_of_one_never_interrupted(whole, clone, command, count):
    kills = Kills(clone, command, seed=count, longest=5.0)
    kills.run(count)
    clone.repro("train")
    assert outputs(clone.folder) == outputs(whole.folder)
    assert [path.name for path in clone.folder.glob(".scratch/train/*/*")] == []


def test_trainer_that_outlived_its_dvc_and_a_new_one_never_write_together(whole, clone):
    clone.set(train__epochs=2000)
    environment = {"cwd": clone.folder, "env": clone.environment}
    first = subprocess.Popen(
        TRAIN, **environment, stdout=subprocess.DEVNULL, start_new_session=True
    )
    wait_for(clone.folder, ".scratch/train/process")
    first.kill()
    first.wait()
    left = find_trainer(clone.folder)
    try:
        for _ in range(2):  # with the same settings, and with others
            refused = clone.run(*TRAIN, expect=255)
            assert f"is in use by another training, process {left.pid}; wait" in refused
            assert "Traceback" not in refused
            clone.set(train__epochs=12)
        assert left.is_running()
        assert not (clone.folder / "models/vit.safetensors").exists()
    finally:
        left.send_signal(signal.SIGTERM)
        left.wait(60)
    clone.repro("train")
    assert outputs(clone.folder) == outputs(whole.folder)


def test_second_dvc_beside_a_running_one_is_refused(clone):
    clone.set(train__epochs=2000)
    first = subprocess.Popen(
        TRAIN, cwd=clone.folder, env=clone.environment, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        wait_for(clone.folder, ".scratch/train/process")
        second = clone.run(*TRAIN, expect=255)
        assert "Traceback" not in second
        assert "is busy" in second or "Unable to acquire lock" in second
        assert first.poll() is None
    finally:
        left = find_trainer(clone.folder)
        left.terminate()
        first.wait(60)


def test_experiments_go_on_from_where_they_were_killed(clone):
    clone.run("git", "add", "--all")
    clone.run("git", "commit", "--quiet", "--message=settings")
    command = ["dvc", "exp", "run", "--temp", "-S", "train.epochs=30"]
    running = subprocess.Popen(
        command, cwd=clone.folder, env=clone.environment, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    # The state lies in the project, not in the copy of it that the experiment runs in.
    wait_for(clone.folder, ".scratch/train/*/*.sha256.json")
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    printed = clone.run("dvc", "exp", "run", "--temp", "-S", "train.epochs=30")
    assert "goes on after step" in printed
