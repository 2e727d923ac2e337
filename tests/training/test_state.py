"""When the state of a training is deleted, and whether DVC has ended."""

import os

import pytest

from vit_hk.training.locking import exclusive_lock
from vit_hk.training.state import discard_state, dvc_is_gone

ORPHAN = -1  # no process id: the parent of an orphan is another process than the one that began it


@pytest.fixture
def state(tmp_path):
    folder = tmp_path / "train" / "0123"
    with exclusive_lock(folder):
        (folder / "checkpoint").touch()
        yield folder


@pytest.fixture(autouse=True)
def environment(monkeypatch) -> None:
    for name in ("LAUNCH", "DVC_STAGE"):
        monkeypatch.delenv(name, raising=False)


def test_state_is_deleted_where_nobody_needs_it(state):
    discard_state(state, os.getppid())
    assert not state.exists()


@pytest.mark.parametrize(
    ("parent", "launch", "processes", "is_awaited"),
    [
        (ORPHAN, "", 1, False),
        (os.getppid(), "mpirun -n 1", 1, False),  # it lives on where dvc is killed
        (os.getppid(), "", 2, False),  # one of the others may fail
        (os.getppid(), "", 1, True),
    ],
    ids=["an orphan", "a launcher", "several processes", "a process that waits"],
)
def test_state_stays_for_whoever_may_need_it(
    state, monkeypatch, parent, launch, processes, is_awaited
):
    monkeypatch.setenv("LAUNCH", launch)
    monkeypatch.setattr("jax.process_count", lambda: processes)
    monkeypatch.setattr("vit_hk.training.state.is_awaited", lambda _: is_awaited)
    discard_state(state, parent)
    assert (state / "checkpoint").exists()


@pytest.mark.parametrize(
    ("parent", "stage", "launch", "is_gone"),
    [
        (os.getppid(), "train", "", False),
        (ORPHAN, "train", "", True),
        (ORPHAN, "", "", False),  # started by hand, in a terminal that is closed since
        (ORPHAN, "train", "mpirun -n 1", False),  # whose parent is the launcher
    ],
    ids=["dvc", "an orphan", "no dvc", "a launcher"],
)
def test_dvc_is_gone_where_its_child_has_another_parent(
    monkeypatch, parent, stage, launch, is_gone
):
    monkeypatch.setenv("DVC_STAGE", stage)
    monkeypatch.setenv("LAUNCH", launch)
    assert dvc_is_gone(parent) == is_gone
