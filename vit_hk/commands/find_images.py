"""The image files that the arguments of a command name: files, folders, globs, ZIPs and stdin."""

import fnmatch
import functools
import glob
import os
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple, NoReturn

from PIL import Image

from vit_hk.data.image_preparation import UnreadableImageError, open_image
from vit_hk.data.sources.folder_layout import is_ignored, natural_order
from vit_hk.data.sources.members import name_in_zip, problem_in_zip
from vit_hk.errors import UserError, in_one_line, shorten

STDIN = "-"
WILDCARDS = "*?["
ANY_FOLDERS = "**"  # a part of a pattern


class ImageFile(NamedTuple):
    """An image that has not been read yet."""

    name: str  # as a person would write it; of a member of a ZIP: "photos.zip/cat.jpg"
    open: Callable[[], Image.Image]  # raises UnreadableImageError


def find_images(arguments: list[str]) -> list[ImageFile]:
    """Return the image files that arguments name, in their order.

    A folder stands for all files in it and in its folders, and a ZIP file for all of its members,
    in natural order (2 before 10). Files that are hidden, or that systems leave behind, are left
    out there; a link to another folder is not followed, and counts as a file that is no image.
    "-" is the standard input. An argument with *, ? or [ that is no path is a pattern. ** in it
    stands for any folders, and for files in them by the same rules.

    Raises:
      UserError: an argument names nothing, or a ZIP file cannot be read.
    """
    return [image for argument in arguments for image in _expand(argument)]


def _expand(argument: str) -> Iterator[ImageFile]:
    if argument == STDIN:
        yield ImageFile("stdin", _open_stdin)
        return
    name = shorten(argument, 200)
    try:
        found = {image.name: image for image in _find(argument)}  # a folder and its files may match
    except OSError as error:  # a name that is too long, or a folder that may not be read
        refused = shorten(str(error.filename or argument), 200)
        raise UserError(
            f"{refused} cannot be read: {error.strerror}; name images that can"
        ) from None
    if not found:
        raise UserError(f"{name} holds no file; name images, or a folder or ZIP of them")
    yield from found.values()


def _find(argument: str) -> Iterator[ImageFile]:
    """Yield the images of the path that an argument is, or of those that match it as a pattern."""
    if not argument:  # as of a variable of the shell that is not set; Path("") is this folder
        raise UserError("a name is empty; name images, or a folder or ZIP of them")
    path, expand = Path(argument), _expand_path
    if path.exists():
        matches = [argument]
    elif ANY_FOLDERS in path.parts:
        # A pattern that ends with / names folders, so all that lies in them.
        pattern = (*path.parts, "*") if argument.endswith("/") else path.parts
        matches, expand = list(_match_below(pattern)), _expand_file
    else:
        has_wildcards = bool(set(WILDCARDS) & set(argument))
        # Path.glob takes no absolute patterns.
        matches = glob.glob(argument) if has_wildcards else []  # noqa: PTH207
    if not matches:
        raise UserError(f"{shorten(argument, 200)} is not there; name images that are")
    for match in sorted(matches, key=natural_order):
        yield from expand(Path(match))


def _match_below(pattern: Sequence[str]) -> Iterator[str]:
    """Yield the files that match a pattern with **, or lie in a folder that does."""
    first = pattern.index(ANY_FOLDERS)
    top = Path(*pattern[:first])
    if top.exists():
        found = [top]
    else:  # folders that match, by the rules of those below them
        matches = map(Path, glob.glob(str(top)))  # noqa: PTH207
        found = [path for path in matches if not (path.is_symlink() or is_ignored((path.name,)))]
    for folder in filter(Path.is_dir, found):
        for file in _files_below(folder):
            if _matches(file.parts, pattern[first:]):
                yield str(folder / file)


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Return whether the first parts of a path, or all of them, match a pattern."""
    if not pattern:
        return True
    if pattern[0] == ANY_FOLDERS:
        return any(_matches(parts[n:], pattern[1:]) for n in range(len(parts) + 1))
    is_match = bool(parts) and fnmatch.fnmatchcase(parts[0], pattern[0])
    return is_match and _matches(parts[1:], pattern[1:])


def _expand_path(path: Path) -> Iterator[ImageFile]:
    if not path.is_dir():
        yield from _expand_file(path)
        return
    for name in sorted(map(str, _files_below(path)), key=natural_order):
        yield ImageFile(str(path / name), functools.partial(open_image, path / name))


def _expand_file(path: Path) -> Iterator[ImageFile]:
    if path.suffix.lower() == ".zip" and path.is_file():
        yield from _zip_members(path)
    else:
        yield ImageFile(str(path), functools.partial(open_image, path))


def _files_below(folder: Path) -> Iterator[Path]:
    """Yield the paths in a folder of all that is no folder, without what is ignored.

    Links to folders, which could lead in a circle, count as files.

    Raises:
      OSError: a folder may not be read; Path.rglob would leave it out.
    """

    def refuse(error: OSError) -> NoReturn:
        raise error

    for root, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not is_ignored((name,))]  # enters no others
        links = [name for name in folders if Path(root, name).is_symlink()]
        for name in links + files:
            path = Path(root, name).relative_to(folder)
            if not is_ignored(path.parts):
                yield path


def _open_stdin() -> Image.Image:
    if sys.stdin is None:
        raise UnreadableImageError("closed")
    return open_image(sys.stdin.buffer)


def _zip_members(path: Path) -> Iterator[ImageFile]:
    shown = shorten(str(path), 200)
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        raise UserError(f"{shown} cannot be read as a ZIP file: {in_one_line(error)}") from None
    members: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        name = name_in_zip(member)
        if name in members and _is_shown(name):
            raise UserError(f"{shown} has two members named {shorten(name)}; pack it again")
        members[name] = member
    for name in sorted(filter(_is_shown, members), key=natural_order):
        yield ImageFile(f"{path}/{name}", functools.partial(_open_member, archive, members[name]))


def _is_shown(name: str) -> bool:
    """Return whether a member of a ZIP file is a file that is not ignored."""
    # A name may begin with "..": that of a file which was beside the current folder.
    parts = tuple(part for part in PurePosixPath(name).parts if part != "..")
    return not name.endswith("/") and not is_ignored(parts)


def _open_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Image.Image:
    """Read a member of a ZIP file, of which it is never extracted to the disk."""
    if problem := problem_in_zip(member):
        raise UnreadableImageError(problem)
    try:
        with archive.open(member) as file:
            return open_image(file)
    # NotImplementedError, a RuntimeError, comes with rare ways of compression.
    except (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise UnreadableImageError(f"damaged: {in_one_line(error, 100)}") from None
