"""The folder of a training's saved state: where it is, who holds it, and when it is deleted.

DVC deletes a stage's outputs before it runs the stage, and leaves ignored folders alone. So the
state, in .scratch/train/<fingerprint>/, survives a killed `dvc repro`, and the next one finds it by
the fingerprint of the training.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import jax

from vit_hk.runtime.cluster import check_same, is_main_process, wait_for_all
from vit_hk.training.locking import exclusive_lock, is_awaited, read_holder, remove_folder

STATE_ROOT = Path(".scratch/train")
# The lock in this folder protects the outputs. Clones may share the folder of states, but not this.
OUTPUTS = Path(".scratch/outputs")


def state_folder(fingerprint: str) -> Path:
    """Return the folder of a training's state, in the project that the variable DVC_ROOT names.

    DVC runs some experiments in a temporary copy of the project; their state survives the copy.
    """
    return Path(os.environ.get("DVC_ROOT", ".")) / STATE_ROOT / fingerprint


@contextlib.contextmanager
def lock_folders(state: Path) -> Iterator[None]:
    """Lock the outputs and the folder of a training's state, in one of all processes.

    Experiments of DVC share the states, since they run in copies of the project, and so may the
    clones of a cluster's jobs: of two with the same training, one waits for the other and takes its
    result.
    """
    with contextlib.ExitStack() as locks:
        if is_main_process():
            locks.enter_context(exclusive_lock(OUTPUTS))
            locks.enter_context(exclusive_lock(state, wait=True))
        wait_for_all()
        # Orbax would wait for ever for a checkpoint in a folder that only some of them see.
        check_same(read_holder(state), "run all in one folder, on a shared disk")
        yield


def runs_below_dvc() -> bool:
    """Return whether DVC has started this process or its launcher, and records its results."""
    return bool(os.environ.get("DVC_STAGE"))


def dvc_is_gone(parent: int) -> bool:
    """Return whether DVC has started this process, `parent` is its process id, and it has ended."""
    return runs_below_dvc() and not _is_launched() and os.getppid() != parent


def discard_state(state: Path, parent: int) -> None:
    """Delete the state of a finished training where nobody needs it any more.

    It stays where a process waits for it, and where DVC may not take the results, so that the next
    `dvc repro` resumes at the end of the training. If DVC was killed, this process has another
    parent than the one that started it. Below a launcher, which outlives DVC, that cannot be seen;
    and of several processes, one may fail after this one has written the results.
    """
    if _is_launched() or os.getppid() != parent or is_awaited(state):
        return
    remove_folder(state)


def _is_launched() -> bool:
    return bool(os.environ.get("LAUNCH")) or jax.process_count() > 1
