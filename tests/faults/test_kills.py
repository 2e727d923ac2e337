"""Real kills of real runs; `make chaos` is the long form."""

import os
import shutil
import signal
import subprocess

import pytest
import yaml
from kills import DVC, TRAINER, Kills, find_trainer, wait_for
from project_clone import Clone, check_same

LONGER = {"train__epochs": 6, "train__checkpoint_steps": 20}
TRAIN = [*DVC, "train"]


@pytest.fixture(scope="module")
def uninterrupted(reproduced, tmp_path_factory) -> Clone:
    """Return a project after a longer training without interruption; do not change it."""
    folder = tmp_path_factory.mktemp("uninterrupted") / "project"
    shutil.copytree(reproduced.folder, folder, symlinks=True)
    clone = Clone(folder)
    clone.set(**LONGER)
    assert clone.repro("train") == ["check", "train"]
    return clone


@pytest.fixture
def clone(reproduced, tmp_path) -> Clone:
    """Return an untrained project with the settings of `uninterrupted`, at another path."""
    # DVC 3.67 runs no experiment in a temporary folder if the path has characters outside ASCII.
    folder = tmp_path / "elsewhere"
    shutil.copytree(
        reproduced.folder, folder, symlinks=True, ignore=shutil.ignore_patterns(".scratch")
    )
    clone = Clone(folder)
    clone.set(**LONGER)
    return clone


def trained(clone: Clone) -> dict[str, object]:
    """Return the outputs of `train`, and what dvc.lock holds of it.

    Nothing of other stages, since a dvc.lock that a kill left half-written is begun anew.
    """
    files = ("models/vit.safetensors", "results/history.csv", "results/snapshots.npz")
    lock = yaml.safe_load(clone.read("dvc.lock"))["stages"]["train"]
    return {"dvc.lock": lock, **{name: clone.read(name) for name in files}}


@pytest.mark.parametrize(("command", "count"), [(TRAINER, 2), (TRAIN, 3)], ids=["trainer", "dvc"])
def test_killed_runs_end_with_the_bytes_of_an_uninterrupted_one(
    uninterrupted, clone, command, count
):
    kills = Kills(clone, command, seed=count, max_seconds=5.0)
    kills.run(count)
    clone.repro("train")
    check_same(trained(uninterrupted), trained(clone))
    assert [path.name for path in clone.folder.glob(".scratch/train/*/*")] == []


def test_orphaned_trainer_and_a_new_one_never_write_together(uninterrupted, clone):
    clone.set(train__epochs=2000)
    environment = {"cwd": clone.folder, "env": clone.environment}
    first = subprocess.Popen(
        TRAIN, **environment, stdout=subprocess.DEVNULL, start_new_session=True
    )
    wait_for(clone.folder, ".scratch/train/process")
    first.kill()
    first.wait()
    orphan = find_trainer(clone.folder)
    try:
        for _ in range(2):  # with the same settings, then with others
            refused = clone.run(*TRAIN, expect=255)
            assert f"is in use by another training, process {orphan.pid}; wait" in refused
            assert "Traceback" not in refused
            clone.set(**LONGER)
        assert orphan.is_running()
        assert not (clone.folder / "models/vit.safetensors").exists()
    finally:
        orphan.send_signal(signal.SIGTERM)
        orphan.wait(60)
    clone.repro("train")
    check_same(trained(uninterrupted), trained(clone))


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
        find_trainer(clone.folder).terminate()
        first.wait(60)


def test_killed_experiment_resumes(clone):
    clone.run("git", "add", "--all")
    clone.run("git", "commit", "--quiet", "--message=settings")
    command = ["dvc", "exp", "run", "train", "--temp", "-S", "train.epochs=30"]
    running = subprocess.Popen(
        command, cwd=clone.folder, env=clone.environment, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    # The state lies in the project, not in the temporary copy that the experiment runs in.
    wait_for(clone.folder, ".scratch/train/*/*.sha256.json")
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert "resumed after step" in clone.run(*command)
