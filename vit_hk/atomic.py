"""Atomic writes: a file appears complete or not at all."""

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from vit_hk.errors import UserError

WRITE_REMEDY = "free disk space or fix the permissions there"  # where writing fails
MAX_NAME_BYTES = 255  # of a file, in the file systems of Linux and macOS
REMEDIES = {
    errno.EISDIR: "move the folder away",
    errno.ENOTDIR: "move the file away that has the name of its folder",
    errno.EEXIST: "move the file away that has the name of its folder",
    errno.ENAMETOOLONG: "choose a shorter name",
}


@contextlib.contextmanager
def replacing(target: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`, and rename it to `target` at the end of the block.

    The folder is created if it is missing. If the block raises, the temporary file is
    removed and an earlier `target` stays as it was.

    Raises:
      UserError: the file system refuses (disk full, read-only folder, …).
    """
    target = Path(target)
    temporary = target.with_name(f".{target.name}.partial{target.suffix}")
    if len(os.fsencode(temporary.name)) > MAX_NAME_BYTES >= len(os.fsencode(target.name)):
        temporary = target.with_name(f".{target.name[:40]}.partial{target.suffix[-20:]}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(target)
    except OSError as error:
        raise write_error(target, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def check_writable(*targets: str | Path) -> None:
    """Check that files can be written, without creating or changing any file or folder.

    A stage calls it at its start, so that it does not fail at its end.

    Raises:
      UserError: a folder is read-only, or a file lies in the place of a folder or a folder in the
        place of a file.
    """
    for target in map(Path, targets):
        with _faults_of(target):
            if target.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            _write_nothing(target.parents)


def check_folder_writable(folder: Path) -> None:
    """Check that files can be written into a folder, as `check_writable` checks it for a file.

    Raises:
      UserError: the folder, or the one that it is to be created in, cannot be written.
    """
    with _faults_of(folder):
        folder.is_dir()  # fails where the name is too long
        _write_nothing((folder, *folder.parents))


def _write_nothing(folders: Iterable[Path]) -> None:
    """Write a file without a name into the first of the folders that exists."""
    existing = next(path for path in folders if os.path.lexists(path))
    with tempfile.TemporaryFile(dir=existing):
        pass


@contextlib.contextmanager
def _faults_of(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise write_error(target, error) from None


def write_error(target: Path, error: OSError) -> UserError:
    """Return an error that names what could not be written, the reason, and what to do."""
    remedy = REMEDIES.get(error.errno or 0, WRITE_REMEDY)
    return UserError(f"{target} could not be written: {error.strerror or error}; {remedy}")
