"""Atomic writes: a file appears complete or not at all."""

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from vit_hk.errors import UserError

WRITE_REMEDY = "free disk space or fix the permissions there"  # where writing fails


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
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(target)
    except OSError as error:
        raise _write_error(target, error) from error
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
        try:
            if target.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            folder = next(path for path in target.parents if os.path.lexists(path))
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise _write_error(target, error) from None


def _write_error(target: Path, error: OSError) -> UserError:
    remedy = "move the folder away" if error.errno == errno.EISDIR else WRITE_REMEDY
    return UserError(f"{target} could not be written: {error.strerror or error}; {remedy}")
