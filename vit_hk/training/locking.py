"""Locks that keep two trainings from writing to one folder.

The holder of a lock writes its process id and its machine into the file `process`. A process that
may wait holds the lock of a file of its own meanwhile, `waiting-<random name>`. The holder looks
for such files when it has finished: if a process waits, also on another machine, it leaves its last
checkpoint in the folder, and the waiting process restores it, has nothing left to train, and writes
the same results.
"""

import contextlib
import os
import shutil
import socket
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from vit_hk.atomic import replacing, write_error
from vit_hk.errors import UserError
from vit_hk.training.output import print_line

HOLDER = "process"  # the name of the file that names the holder
WAITING = "waiting-"  # the start of the names of files of waiting processes


@contextlib.contextmanager
def exclusive_lock(folder: Path, wait: bool = False) -> Iterator[None]:
    """Hold the lock of a folder, which is created where it is missing.

    The operating system releases the lock when its process ends, however it ends.

    Args:
      folder: the folder.
      wait: wait for a process that holds the lock, instead of raising an error. Such a process
        finds out by `is_awaited`.

    Raises:
      UserError: another process holds it, for example a training that outlived its dvc.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "lock")
        _acquire(lock, folder, wait)
    except Timeout:
        holder = read_holder(folder)
        number = holder.split(" ")[0]
        stop = f", or stop it there with: kill {number} (it keeps its state)"
        raise UserError(
            f"{folder} is in use by another training, process {holder}; wait until it ends"
            f"{stop if number.isdecimal() else ''}, then go on with: dvc repro"
        ) from None
    except OSError as error:
        raise write_error(folder, error) from error
    try:
        with replacing(folder / HOLDER) as temporary:
            temporary.write_text(_name_process(), "utf-8")
        yield
    finally:
        lock.release()


def _acquire(lock: FileLock, folder: Path, wait: bool) -> None:
    """Acquire a lock at once, or after its holder has released it.

    Raises:
      Timeout: another process holds it, and `wait` is False.
    """
    try:
        lock.acquire(blocking=False)
    except Timeout:
        if not wait:
            raise
        holder = read_holder(folder)
        print_line(f"waiting for the result of process {holder}, which trains the same", sys.stdout)
        waiting = folder / f"{WAITING}{uuid.uuid4().hex}"
        waiting_lock = FileLock(waiting)
        # The holder has just removed the folder, or it tests at this moment whether the new file
        # is locked.
        with contextlib.suppress(FileNotFoundError, Timeout):
            waiting_lock.acquire(timeout=10)
        try:
            while not _is_acquired(lock):
                folder.mkdir(parents=True, exist_ok=True)
        finally:
            waiting_lock.release()
            waiting.unlink(missing_ok=True)


def _is_acquired(lock: FileLock) -> bool:
    """Wait for a lock; return False if its folder was removed meanwhile."""
    try:
        lock.acquire()
    except FileNotFoundError:
        return False
    return True


def is_awaited(folder: Path) -> bool:
    """Return whether a living process waits for the lock of a folder."""
    return any(map(_is_locked, folder.glob(f"{WAITING}*")))


def _is_locked(path: Path) -> bool:
    """Return whether a process holds the lock of a file."""
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return True
    lock.release()
    return False


def remove_folder(folder: Path) -> None:
    """Remove a folder whose lock this process holds.

    It is renamed first, so that a process that comes meanwhile finds no folder and creates its own.
    What cannot be removed is left.
    """
    removed = folder.with_name(f".{folder.name}.removed")
    shutil.rmtree(removed, ignore_errors=True)  # left by a process that was killed
    with contextlib.suppress(OSError):
        folder.rename(removed)
    shutil.rmtree(removed, ignore_errors=True)


def _name_process() -> str:
    """Return the id of this process and its machine, at most 64 characters."""
    return f"{os.getpid()} on {socket.gethostname()}"[:64]


def read_holder(folder: Path) -> str:
    """Return the name of the last process that held the lock of a folder, or "unknown"."""
    try:
        return (folder / HOLDER).read_text("utf-8")
    except (OSError, ValueError):
        return "unknown"
