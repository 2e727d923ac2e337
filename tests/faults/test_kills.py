"""Real kills of real runs; `make chaos` is the long form."""

import hashlib
import os
import signal
import subprocess

import pytest
import yaml
from kills import DVC, Kills, find_trainer, wait_for
from project_clone import Clone, check_same

LONGER = {"train__epochs": 6, "train__checkpoint_steps": 20}
TRAIN = [*DVC, "train"]


@pytest.fixture(scope="module")
def uninterrupted(reproduced, tmp_path_factory) -> Clone:
    """Return a project after a longer training without interruption; do not change it."""
    clone = reproduced.copy(tmp_path_factory.mktemp("uninterrupted") / "project")
    # Compiled code in its own folder, not in that of all tests: a kill can leave half of an entry.
    clone.environment["JAX_COMPILATION_CACHE_DIR"] = str(clone.folder / ".scratch" / "compiled")
    clone.set(**LONGER)
    clone.run("python", "-m", "stages.train")
    return clone


@pytest.fixture
def clone(reproduced, uninterrupted, tmp_path) -> Clone:
    """Return an untrained project with the settings of `uninterrupted`, at another path."""
    # DVC 3.67 runs no experiment in a temporary folder if the path has characters outside ASCII.
    clone = reproduced.copy(tmp_path / "elsewhere", ".scratch")
    clone.set(**LONGER)
    # Compiling takes longer than all steps; a kill while compiled code is written has its own test.
    name = "JAX_COMPILATION_CACHE_DIR"
    clone.environment[name] = uninterrupted.environment[name]
    return clone


def trained(clone: Clone) -> dict[str, bytes]:
    """Return the outputs of `train`."""
    files = ("models/vit.safetensors", "results/history.csv", "results/snapshots.npz")
    return {name: clone.read(name) for name in files}


def check_lock(clone: Clone, files: dict[str, bytes]) -> None:
    """Check that dvc.lock holds the outputs of `train`.

    Nothing of other stages, since a dvc.lock that a kill left half-written is begun anew.
    """
    outs = yaml.safe_load(clone.read("dvc.lock"))["stages"]["train"]["outs"]
    assert {out["path"]: out["md5"] for out in outs} == {
        name: hashlib.md5(content, usedforsecurity=False).hexdigest()
        for name, content in files.items()
    }


def start(clone: Clone, *command: str) -> subprocess.Popen[bytes]:
    """Start a command in a group of its own."""
    return subprocess.Popen(
        command, cwd=clone.folder, env=clone.environment, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip


def test_killed_runs_end_with_the_bytes_of_an_uninterrupted_one(uninterrupted, clone):
    first = start(clone, *TRAIN)
    wait_for(clone.folder, ".scratch/train/*/*.sha256.json")
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    kills = Kills(clone, TRAIN, seed=0, max_seconds=5.0)
    kills.run(1)  # in one of the five ways
    assert "resumed after step" in kills.printed
    check_same(trained(uninterrupted), trained(clone))
    check_lock(clone, trained(clone))
    assert [path.name for path in clone.folder.glob(".scratch/train/*/*")] == []


def test_only_one_of_two_dvcs_and_of_two_trainings_runs(clone):
    clone.set(train__epochs=2000)
    first = start(clone, *TRAIN)
    wait_for(clone.folder, ".scratch/outputs/process")
    trainer = find_trainer(clone.folder)
    trainer.suspend()  # it would compute in vain while the others are refused
    try:
        second = clone.run(*TRAIN, expect=255)
        assert "Traceback" not in second
        assert "is busy" in second or "Unable to acquire lock" in second
        assert first.poll() is None

        first.kill()
        first.wait()
        for _ in range(2):  # with the same settings, then with others
            refused = clone.run("python", "-m", "stages.train", expect=1)
            assert f"is in use by another training, process {trainer.pid} on " in refused
            assert "Traceback" not in refused
            clone.set(**LONGER)
        assert trainer.is_running()
        assert not (clone.folder / "models/vit.safetensors").exists()
    finally:
        trainer.kill()
        trainer.wait(60)


def test_killed_experiment_resumes(clone):
    clone.run("git", "add", "--all")
    clone.run("git", "commit", "--quiet", "--message=settings")
    command = ["dvc", "exp", "run", "train", "--temp"]
    running = start(clone, *command)
    # The state lies in the project, not in the temporary copy that the experiment runs in.
    wait_for(clone.folder, ".scratch/train/*/*.sha256.json")
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert "resumed after step" in clone.run(*command)
