"""Remove what a killed dvc left half-written, so that the next one starts.

`make repro` runs this first: python -m vit_hk.dvc_files. DVC 3.67 writes its dvc.lock and
.dvc/tmp/rwlock in place, and does not start where one of them is cut off. Both can be spared:
rwlock names running processes only, and what dvc.lock says lies in DVC's cache of runs too.
"""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import zc.lockfile

from vit_hk.errors import one_line_errors

# Each file with the lock that DVC holds while it writes it.
RWLOCK = Path(".dvc/tmp/rwlock")
RWLOCK_GUARD = Path(".dvc/tmp/rwlock.lock")
DVC_LOCK = Path("dvc.lock")
DVC_LOCK_GUARD = Path(".dvc/tmp/lock")


def remove_cut_off(path: Path, guard: Path, is_whole: Callable[[str], bool]) -> bool:
    """Remove a file that is cut off, unless a running dvc may be writing it just now.

    Args:
      path: the file; it need not exist.
      guard: the file that DVC locks while it writes `path`.
      is_whole: tells by its text whether the file was written to the end.

    Returns:
      Whether the file was removed.
    """
    if not path.exists():
        return False
    guard.parent.mkdir(parents=True, exist_ok=True)
    try:
        lock = zc.lockfile.LockFile(str(guard))
    except zc.lockfile.LockError:
        return False
    with contextlib.closing(lock):
        cut_off = not is_whole(path.read_text("utf-8", errors="replace"))
        if cut_off:
            path.unlink()
    return cut_off


def is_json(text: str) -> bool:
    """Whether this is a whole JSON text."""
    try:
        json.loads(text)
    except json.JSONDecodeError:
        return False
    return True


def ends_with_a_line(text: str) -> bool:
    """Whether the last line is there; a dvc.lock with a merge conflict is whole in that sense."""
    return text.endswith("\n")


def main() -> None:
    """Look at both files of the project in the current folder."""
    if remove_cut_off(RWLOCK, RWLOCK_GUARD, is_json):
        print(f"{RWLOCK}, which a killed dvc left half-written, was removed")
    if remove_cut_off(DVC_LOCK, DVC_LOCK_GUARD, ends_with_a_line):
        print(f"{DVC_LOCK}, which a killed dvc left half-written, was removed; dvc repro makes it")


if __name__ == "__main__":
    with one_line_errors():
        main()
