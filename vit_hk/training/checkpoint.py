"""Checkpoints that are written by Orbax and verified by checksums.

Orbax writes each checkpoint completely or not at all, but reads damaged arrays without an error.
So a checkpoint is valid only with a list of the SHA-256 of its files, written after it.
"""

import dataclasses
import hashlib
import json
import logging
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import args as ocp_args

from vit_hk.atomic import replacing
from vit_hk.errors import UserError
from vit_hk.runtime.cluster import is_main_process, max_over_processes, wait_for_all
from vit_hk.training.progress import Epoch, Progress, Snapshot

MAX_TO_KEEP = 2  # if the newest is damaged, the one before it is restored
CHECKSUMS = ".sha256.json"


def _silence_orbax() -> None:
    """Keep Orbax from logging each error that it raises, with a traceback, in this process."""
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    sys.unraisablehook = _ignore_closed_event_loop


def _ignore_closed_event_loop(unraisable: "sys.UnraisableHookArgs") -> None:
    """Print an unraisable error as Python does, except for those of Orbax's closed event loop.

    When a write fails, Orbax raises an error and closes the loop while other writes are still
    running. These then fail as well, in a thread without a caller.
    """
    if str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)


class _Manager(ocp.CheckpointManager):
    """Orbax's manager, which does not ask JAX about signals: `interruption.py` receives them."""

    def reached_preemption(self, step: int) -> bool:  # noqa: ARG002
        return False


class Checkpoints:
    """The newest checkpoints of one training, in their own folder.

    The checkpoint after step n is the folder `n`; its checksums are the file `n.sha256.json`.
    """

    def __init__(self, folder: Path) -> None:
        """Store the folder, which need not exist, and silence Orbax in the whole process."""
        _silence_orbax()
        self._folder = folder
        self._manager: _Manager | None = None

    def save(self, progress: Progress) -> None:
        """Write a checkpoint, then delete all but the newest `MAX_TO_KEEP`.

        Raises:
          UserError: the file system refuses.
        """
        step = int(progress.state.step)
        try:
            self._open().save(step, args=_save_args(progress))
        except (OSError, ValueError, RuntimeError) as error:  # what Orbax passes on
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"{self._folder / str(step)} could not be written: {reason}; when that is "
                "repaired, go on from the checkpoint before with: dvc repro"
            ) from error
        if is_main_process():
            self._write_checksums(step)
        wait_for_all()

    def restore(self, start: Progress) -> Progress:
        """Restore the newest intact checkpoint, or return `start` if there is no checkpoint.

        Args:
          start: progress before the first step, with arrays of the shapes to restore.

        Raises:
          UserError: all checkpoints are damaged; none of these is deleted.
        """
        found = 0
        if is_main_process():  # it deletes; the others learn the step from it
            self._delete_incomplete()
            found = self._find_intact()
            self._delete_newer(found)
        step = max_over_processes(found)
        return self._read(step, start) if step else start

    def _find_intact(self) -> int:
        """Return the step of the newest intact checkpoint, or 0 if there is no checkpoint.

        A warning names each damaged checkpoint that is newer.

        Raises:
          UserError: all checkpoints are damaged.
        """
        checksum_files = sorted(self._folder.glob(f"*{CHECKSUMS}"), key=lambda path: -_step(path))
        for path in checksum_files:
            problem = _find_damage(path, self._folder_of(path))
            if not problem:
                return _step(path)
            print(
                f"warning: checkpoint {self._folder_of(path)} is damaged: {problem}; it is left "
                "out, and deleted where an older one can be read",
                file=sys.stderr,
            )
        if checksum_files:
            raise UserError(
                f"no checkpoint in {self._folder} can be read; start again with: "
                f"rm -r {shlex.quote(str(self._folder))} && dvc repro"
            )
        return 0

    def _write_checksums(self, step: int) -> None:
        """Write the checksums of a checkpoint, and delete those of deleted ones."""
        with replacing(self._checksum_file(step)) as temporary:
            temporary.write_text(json.dumps(_compute_checksums(self._folder / str(step))), "utf-8")
        for old in self._folder.glob(f"*{CHECKSUMS}"):
            if not self._folder_of(old).is_dir():
                old.unlink()

    def _open(self) -> _Manager:
        if not self._manager:
            options = ocp.CheckpointManagerOptions(
                max_to_keep=MAX_TO_KEEP, enable_async_checkpointing=False
            )
            self._manager = _Manager(self._folder.absolute(), options=options)
        return self._manager

    def _read(self, step: int, start: Progress) -> Progress:
        manager = self._open()
        wanted = ocp_args.Composite(progress=ocp_args.JsonRestore())
        metadata = manager.restore(step, args=wanted)["progress"]
        shapes = [
            {name: jax.ShapeDtypeStruct(shape, np.float32) for name, shape in snapshot.items()}
            for snapshot in metadata["snapshots"]
        ]
        template = {"state": jax.tree.leaves(start.state), "snapshots": shapes}
        wanted = ocp_args.Composite(arrays=ocp_args.StandardRestore(template))
        arrays = manager.restore(step, args=wanted)["arrays"]
        return Progress(
            state=jax.tree.unflatten(jax.tree.structure(start.state), arrays["state"]),
            history=[Epoch(**row) for row in metadata["history"]],
            snapshots=[
                Snapshot(epoch, **{name: np.asarray(x) for name, x in snapshot.items()})
                for epoch, snapshot in zip(metadata["epochs"], arrays["snapshots"], strict=True)
            ],
            seconds=metadata["seconds"],
        )

    def _delete_incomplete(self) -> None:
        """Delete folders without checksums, which a killed process was writing."""
        for path in self._folder.glob("*"):
            is_complete = path.name.isdigit() and self._checksum_file(int(path.name)).exists()
            if path.is_dir() and not is_complete:
                shutil.rmtree(path)

    def _delete_newer(self, step: int) -> None:
        """Delete all checkpoints that are newer than this step: they are damaged."""
        for path in self._folder.glob(f"*{CHECKSUMS}"):
            if _step(path) > step:
                path.unlink()
                shutil.rmtree(self._folder_of(path), ignore_errors=True)

    def _checksum_file(self, step: int) -> Path:
        return self._folder / f"{step}{CHECKSUMS}"

    def _folder_of(self, checksum_file: Path) -> Path:
        return self._folder / str(_step(checksum_file))


def _step(checksum_file: Path) -> int:
    return int(checksum_file.name.removesuffix(CHECKSUMS))


def _save_args(progress: Progress) -> ocp_args.CheckpointArgs:
    snapshots = [
        {"attention": snapshot.attention, "probabilities": snapshot.probabilities}
        for snapshot in progress.snapshots
    ]
    metadata = {
        "history": [dataclasses.asdict(epoch) for epoch in progress.history],
        "epochs": [snapshot.epoch for snapshot in progress.snapshots],
        "snapshots": [{name: list(x.shape) for name, x in some.items()} for some in snapshots],
        "seconds": progress.seconds,
    }
    arrays: dict[str, Any] = {"state": jax.tree.leaves(progress.state), "snapshots": snapshots}
    return ocp_args.Composite(
        progress=ocp_args.JsonSave(metadata), arrays=ocp_args.StandardSave(arrays)
    )


def _compute_checksums(folder: Path) -> dict[str, str]:
    checksums = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256")
            checksums[path.relative_to(folder).as_posix()] = digest.hexdigest()
    return checksums


def _find_damage(checksums: Path, folder: Path) -> str:
    """Describe what is wrong with a checkpoint, or return an empty string."""
    try:
        expected = json.loads(checksums.read_text("utf-8"))
        found = _compute_checksums(folder)
    except (OSError, ValueError) as error:
        return f"{checksums.name} or a file of it cannot be read ({error})"
    if expected == found:
        return ""
    if not isinstance(expected, dict):
        return f"{checksums.name} holds no checksums"
    differ = sorted(
        name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)
    )
    return f"{len(differ)} of its files are not as they were written, {differ[0]} for example"
