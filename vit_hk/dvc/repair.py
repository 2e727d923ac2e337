"""Moves files away that a killed dvc left half-written, so that the next dvc starts.

`make repro` runs this first: python -m vit_hk.dvc.repair. DVC 3.67 writes its dvc.lock and
.dvc/tmp/rwlock in place, and does not start where one of them is truncated. It does without both:
rwlock names running processes only, and the content of dvc.lock is in DVC's run cache too, where
the pipeline has run. A file whose last line only lacks its end is kept under another name.
"""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import zc.lockfile

from vit_hk.errors import UserError, one_line_errors

# Each file, and the lock that DVC holds while it writes the file.
RWLOCK = Path(".dvc/tmp/rwlock")
RWLOCK_GUARD = Path(".dvc/tmp/rwlock.lock")
DVC_LOCK = Path("dvc.lock")
DVC_LOCK_GUARD = Path(".dvc/tmp/lock")


def move_truncated(path: Path, guard: Path, is_complete: Callable[[str], bool]) -> bool:
    """Give a truncated file another name, unless a running dvc may be writing it at this moment.

    Args:
      path: the file; it need not exist.
      guard: the file that DVC locks while it writes `path`.
      is_complete: whether a text was written to the end.

    Returns:
      Whether the file has another name now, which ends in `.truncated`.
    """
    if not path.exists():
        return False
    try:
        guard.parent.mkdir(parents=True, exist_ok=True)
        lock = zc.lockfile.LockFile(str(guard))
    except zc.lockfile.LockError:
        return False
    except OSError as error:  # a run as another user may have created it
        raise UserError(f"{guard} could not be locked: {error.strerror}; make it yours") from None
    with contextlib.closing(lock):
        try:
            truncated = not is_complete(path.read_text("utf-8", errors="replace"))
            if truncated:
                path.replace(truncated_name(path))
        except OSError as error:
            raise UserError(
                f"{path} could not be read or renamed: {error.strerror}; make it and its folder "
                "yours"
            ) from None
    return truncated


def truncated_name(path: Path) -> Path:
    """Return the name under which a truncated file is kept."""
    return path.with_name(f"{path.name}.truncated")


def is_json(text: str) -> bool:
    """Return whether a text is complete JSON."""
    try:
        json.loads(text)
    except json.JSONDecodeError:
        return False
    return True


def ends_with_newline(text: str) -> bool:
    """Return whether the last line is complete; in a file with a merge conflict it is too."""
    return text.endswith("\n")


def main() -> None:
    """Repair both files of the project in the current folder."""
    if move_truncated(RWLOCK, RWLOCK_GUARD, is_json):
        print(f"{RWLOCK}, which a killed dvc left half-written, is {truncated_name(RWLOCK)} now")
    if move_truncated(DVC_LOCK, DVC_LOCK_GUARD, ends_with_newline):
        print(
            f"{DVC_LOCK}, which a killed dvc left half-written, is {truncated_name(DVC_LOCK)} now; "
            "dvc repro writes another"
        )


if __name__ == "__main__":
    with one_line_errors():
        main()
