"""A folder of files, of which none appears before all of them are written."""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from vit_hk.atomic import check_folder_writable, check_writable, write_error
from vit_hk.errors import UserError


def check_new_folder(folder: Path, force: bool) -> None:
    """Make sure that files may be written into a folder, before any work is done.

    Raises:
      UserError: it is a file or a link, or it exists and `force` is False, or it cannot be written.
    """
    exists = os.path.lexists(folder)  # Path.exists would raise an error for a name that is too long
    if exists and folder.is_symlink():  # another folder than the one that is named would change
        raise UserError(f"{folder} is a link; choose another name, or name what it leads to")
    if exists and not folder.is_dir():
        raise UserError(f"{folder} is no folder; choose another name")
    if exists and not force:
        raise UserError(f"{folder} exists; choose another name, or replace its files with --force")
    check_folder_writable(folder)


def write_folder(folder: Path, files: dict[str, bytes]) -> None:
    """Write files into a folder; those of other names that it holds already stay as they are.

    All are written into a temporary folder first, and moved into this one at the end. Where it
    exists, the temporary one lies in it: its parent may be another disk, or may not be written.

    Raises:
      UserError: the file system refuses, or a folder has the name of a file. The folder is as it
        was then, unless the file system fails between two moves.
    """
    temporary = None
    try:
        place = folder if folder.is_dir() else folder.parent
        place.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name[:40]}.partial", dir=place))
        for name, content in files.items():
            (temporary / name).write_bytes(content)
        folder.mkdir(exist_ok=True)
        check_writable(*(folder / name for name in files))
        for name in files:
            (temporary / name).replace(folder / name)
    except OSError as error:
        raise write_error(folder, error) from error
    finally:
        if temporary:
            with contextlib.suppress(OSError):
                shutil.rmtree(temporary)
