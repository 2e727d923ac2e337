"""Files appear whole or not at all: write beside the target, then os.replace."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from vit_hk.errors import UserError


@contextlib.contextmanager
def replacing(target: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `target`; move it to `target` at the end.

    The folder is made when it is missing. If the block raises, the temporary file is
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
        raise UserError(f"{target} could not be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
