"""Checkpoints that are written by Orbax and verified by checksums of our own.

Orbax makes each checkpoint whole or not at all, but reads damaged numbers without a word.
So a checkpoint counts only with a list of the SHA-256 of its files, written after it.
"""

import dataclasses
import hashlib
import json
import logging
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
from vit_hk.training.progress import Epoch, Progress, Snapshot

KEPT = 2  # the one before the newest is there if the newest is damaged
CHECKSUMS = ".sha256.json"

logging.getLogger("absl").setLevel(logging.CRITICAL)  # Orbax logs what it raises, with traceback


def _tell_unless_orbax_has_ended(ignored: "sys.UnraisableHookArgs") -> None:
    """Print an error that nobody could be told, as Python does.

    When a write fails, Orbax closes its loop while other writes are still under way. These then
    fail as well, in a thread without a caller, beside the one error that says what is wrong.
    """
    if str(ignored.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(ignored)


sys.unraisablehook = _tell_unless_orbax_has_ended


class Checkpoints:
    """The newest checkpoints of one training, in a folder of their own.

    The checkpoint after step n is the folder `n`, its checksums are the file `n.sha256.json`.
    """

    def __init__(self, folder: Path) -> None:
        """Remember the folder, which need not exist."""
        self._folder = folder
        self._manager: ocp.CheckpointManager | None = None

    def save(self, progress: Progress) -> None:
        """Write a checkpoint, then drop all but the newest two.

        Raises:
          UserError: the file system refuses.
        """
        step = int(progress.state.step)
        try:
            self._open().save(step, args=_to_save(progress))
        except (OSError, ValueError, RuntimeError) as error:  # Orbax passes on what its parts raise
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"{self._folder / str(step)} could not be written: {reason}; when that is "
                "mended, go on from the checkpoint before with: dvc repro"
            ) from error
        with replacing(self._checksums(step)) as temporary:
            temporary.write_text(json.dumps(_checksums_of(self._folder / str(step))), "utf-8")
        for old in self._folder.glob(f"*{CHECKSUMS}"):
            if not self._of(old).is_dir():
                old.unlink()

    def newest(self, start: Progress) -> Progress:
        """Read the newest checkpoint that is whole; `start`, if there never was one.

        A damaged one is named in a warning and passed over.

        Args:
          start: progress before the first step; tells the shapes.

        Raises:
          UserError: all checkpoints are damaged.
        """
        self._drop_unfinished()
        lists = sorted(self._folder.glob(f"*{CHECKSUMS}"), key=lambda path: -_step(path))
        for path in lists:
            problem = _damage(path, self._of(path))
            if not problem:
                for newer in lists[: lists.index(path)]:
                    self._remove(newer)
                return self._read(_step(path), start)
            print(f"warning: checkpoint {self._of(path)} is damaged: {problem}", file=sys.stderr)
        if lists:
            raise UserError(
                f"no checkpoint in {self._folder} can be read; start afresh with: "
                f"rm -r '{self._folder}' && dvc repro"
            )
        return start

    def _open(self) -> ocp.CheckpointManager:
        if not self._manager:
            options = ocp.CheckpointManagerOptions(
                max_to_keep=KEPT, enable_async_checkpointing=False
            )
            self._manager = ocp.CheckpointManager(self._folder.absolute(), options=options)
        return self._manager

    def _read(self, step: int, start: Progress) -> Progress:
        manager = self._open()
        wanted = ocp_args.Composite(progress=ocp_args.JsonRestore())
        told = manager.restore(step, args=wanted)["progress"]
        shapes = [
            {name: jax.ShapeDtypeStruct(shape, np.float32) for name, shape in snapshot.items()}
            for snapshot in told["snapshots"]
        ]
        like = {"state": jax.tree.leaves(start.state), "snapshots": shapes}
        wanted = ocp_args.Composite(arrays=ocp_args.StandardRestore(like))
        arrays = manager.restore(step, args=wanted)["arrays"]
        return Progress(
            state=jax.tree.unflatten(jax.tree.structure(start.state), arrays["state"]),
            history=[Epoch(**row) for row in told["history"]],
            snapshots=[
                Snapshot(epoch, **{name: np.asarray(x) for name, x in snapshot.items()})
                for epoch, snapshot in zip(told["epochs"], arrays["snapshots"], strict=True)
            ],
            seconds=told["seconds"],
        )

    def _drop_unfinished(self) -> None:
        """Remove what a killed process was about to write: folders without checksums."""
        for path in self._folder.glob("*"):
            whole = path.name.isdigit() and self._checksums(int(path.name)).exists()
            if path.is_dir() and not whole:
                shutil.rmtree(path)

    def _remove(self, checksums: Path) -> None:
        checksums.unlink()
        shutil.rmtree(self._of(checksums), ignore_errors=True)

    def _checksums(self, step: int) -> Path:
        return self._folder / f"{step}{CHECKSUMS}"

    def _of(self, checksums: Path) -> Path:
        return self._folder / str(_step(checksums))


def _step(checksums: Path) -> int:
    return int(checksums.name.removesuffix(CHECKSUMS))


def _to_save(progress: Progress) -> ocp_args.CheckpointArgs:
    snapshots = [
        {"attention": snapshot.attention, "probabilities": snapshot.probabilities}
        for snapshot in progress.snapshots
    ]
    told = {
        "history": [dataclasses.asdict(epoch) for epoch in progress.history],
        "epochs": [snapshot.epoch for snapshot in progress.snapshots],
        "snapshots": [{name: list(x.shape) for name, x in some.items()} for some in snapshots],
        "seconds": progress.seconds,
    }
    arrays: dict[str, Any] = {"state": jax.tree.leaves(progress.state), "snapshots": snapshots}
    return ocp_args.Composite(
        progress=ocp_args.JsonSave(told), arrays=ocp_args.StandardSave(arrays)
    )


def _checksums_of(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _damage(checksums: Path, folder: Path) -> str:
    """What is wrong with a checkpoint, or nothing."""
    try:
        wanted = json.loads(checksums.read_text("utf-8"))
        found = _checksums_of(folder)
    except (OSError, ValueError) as error:
        return f"{checksums.name} or a file of it cannot be read ({error})"
    if wanted == found:
        return ""
    if not isinstance(wanted, dict):
        return f"{checksums.name} holds no checksums"
    differ = sorted(
        name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)
    )
    return f"{len(differ)} of its files are not as they were written, {differ[0]} for one"
