"""The files of a folder, a zip or a tar archive, read in place; nothing is unpacked to disk."""

import contextlib
import dataclasses
import functools
import gzip
import io
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Self

from vit_hk.data.image_preparation import BLOCK_BYTES, MAX_FILE_BYTES
from vit_hk.data.npz import COMPRESSIONS
from vit_hk.data.sources.folder_layout import is_ignored
from vit_hk.errors import UserError, in_one_line, shorten

MAX_MEMBERS = 2_000_000
MAX_TOTAL_BYTES = 2**38  # of all members of an archive together, decompressed
MAX_PADDING = 2**28  # bytes after the last member of a compressed archive
ENCRYPTED, UTF8_NAME = 0x1, 0x800  # flags of a member of a ZIP file
GZIP_MAGIC = b"\x1f\x8b"
# A block of zeros, or nothing; typeshed does not have these names.
END_OF_ARCHIVE = (tarfile.EOFHeaderError, tarfile.EmptyHeaderError)  # type: ignore[attr-defined]
# What reading a damaged archive raises, beside OSError.
ARCHIVE_ERRORS = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError,
    ValueError, OverflowError,
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Member:
    """A file or a folder that lies in a folder or an archive.

    Attributes:
      parts: the names along its path, for example ("train", "cat", "1.png").
      is_folder: whether it is a folder.
      open: returns what `open_image` reads. May raise OSError or one of ARCHIVE_ERRORS.
      size: bytes that `open` takes into memory.
      problem: why it cannot be read, or None.
    """

    parts: tuple[str, ...]
    is_folder: bool
    open: Callable[[], Path | IO[bytes]]
    size: int = 0
    problem: str | None = None


def iterate_members(root: Path) -> Iterator[Member]:
    """Yield all files and folders that lie in `root`, a folder or an archive.

    A member is to be opened before the next one is asked for.

    Raises:
      UserError: `root` is missing, no folder, zip or tar archive, damaged or too large, or has a
        member whose name leads out of it, or an image twice.
    """
    try:
        yield from _within_limits(_find_reader(root)(root), root)
    except (OSError, *ARCHIVE_ERRORS) as error:
        reason = getattr(error, "strerror", None) or in_one_line(error)
        name = getattr(error, "filename", None) or root  # a folder within it, perhaps
        raise UserError(
            f"{shorten(str(name), 200)} cannot be read ({reason}); repair it, or name another in "
            "params.yaml: data.root"
        ) from None


def _find_reader(root: Path) -> Callable[[Path], Iterator[Member]]:
    if root.is_dir():
        return _members_of_folder
    if not root.is_file():
        raise UserError(
            f"params.yaml: data.root is {root}, which is not there; with data.name = folder it "
            "must be a folder of images, or a zip or tar archive of one"
        )
    if _is_gzip(root) or _is_tar(root):  # first, since a tar archive may end with a ZIP file
        return _members_of_tar
    if zipfile.is_zipfile(root):
        if root.suffix.lower() == ".npz":
            raise UserError(f"params.yaml: data.root is {root}, an NPZ file; set data.name to npz")
        return _members_of_zip
    raise UserError(
        f"params.yaml: data.root is {root}, which is neither a folder nor an archive; allowed with "
        "data.name = folder: a folder of images, or a .zip, .tar or .tar.gz of one"
    )


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(GZIP_MAGIC)) == GZIP_MAGIC


def _is_tar(path: Path) -> bool:
    """Return whether a file is an uncompressed tar archive.

    tarfile.is_tarfile would decompress others, and take as much memory as a header claims.
    """
    try:
        with path.open("rb") as raw, tarfile.open(fileobj=_BoundedReader(raw), mode="r:"):
            return True
    except ARCHIVE_ERRORS:
        return False


def _within_limits(members: Iterator[Member], root: Path) -> Iterator[Member]:
    """Yield members, and stop where they are too many or too large."""
    count = total = 0
    for number, member in enumerate(members, 1):
        count += not member.is_folder and not is_ignored(member.parts)
        total += member.size
        # Folders and ignored files take memory too.
        if count > MAX_MEMBERS or number > 4 * MAX_MEMBERS or total > MAX_TOTAL_BYTES:
            raise UserError(
                f"{root} holds more than {MAX_MEMBERS:,} files, {4 * MAX_MEMBERS:,} files and "
                f"folders, or {MAX_TOTAL_BYTES:,} bytes; use fewer images"
            )
        if not member.parts:  # the folder "./" of a tar archive
            continue
        if member.size > MAX_FILE_BYTES:
            yield dataclasses.replace(member, problem=f"more than {MAX_FILE_BYTES:,} bytes")
        else:
            yield member


def _members_of_folder(root: Path) -> Iterator[Member]:
    def stop(error: OSError) -> None:
        if not is_ignored(Path(error.filename).relative_to(root).parts):
            raise error

    for folder, folders, files in os.walk(root, onerror=stop):
        for name in folders:
            path = Path(folder, name)
            # DVC does not follow it either, so a change in it would not be noticed.
            problem = "a link to a folder, which is not followed" if path.is_symlink() else None
            open_path = functools.partial(Path, path)
            yield Member(path.relative_to(root).parts, True, open_path, problem=problem)
        for name in files:
            path = Path(folder, name)
            yield Member(path.relative_to(root).parts, False, functools.partial(Path, path))


def name_in_zip(info: zipfile.ZipInfo) -> str:
    """Return the name of a member of a ZIP file, with / between its parts.

    Names without the flag of UTF-8 are in code page 437 by the standard; macOS writes UTF-8 all the
    same. The standard knows / only; PowerShell 5.1 of Windows writes a backslash. In other code
    pages a backslash can be the second byte of a letter.
    """
    name, is_utf8 = info.filename, bool(info.flag_bits & UTF8_NAME)
    if not is_utf8:
        with contextlib.suppress(UnicodeError):
            name, is_utf8 = name.encode("cp437").decode("utf-8"), True
    return name.replace("\\", "/") if is_utf8 else name


def problem_in_zip(info: zipfile.ZipInfo) -> str | None:
    """Return why a member of a ZIP file cannot be read, or None."""
    if info.flag_bits & ENCRYPTED:  # then the method is another one too
        return "encrypted"
    if info.compress_type not in COMPRESSIONS:
        return "compressed by another method than deflate"
    return None


def _members_of_zip(root: Path) -> Iterator[Member]:
    seen: set[tuple[str, ...]] = set()
    with zipfile.ZipFile(root) as archive:
        for info in archive.infolist():
            name = name_in_zip(info)
            is_folder = name.endswith("/")
            parts = _checked_parts(name, is_folder, root, seen)
            opened = functools.partial(_open_in_zip, archive, info)
            yield Member(parts, is_folder, opened, info.file_size, problem_in_zip(info))


def _members_of_tar(root: Path) -> Iterator[Member]:
    seen: set[tuple[str, ...]] = set()
    with (
        gzip.open(root) if _is_gzip(root) else root.open("rb") as raw,
        tarfile.open(fileobj=_BoundedReader(raw), mode="r:", tarinfo=_CheckedHeader) as archive,
    ):
        for info in archive:
            parts = _checked_parts(info.name, info.isdir(), root, seen)
            problem = None if info.isfile() or info.isdir() else "a link or a device"
            opened = functools.partial(_open_in_tar, archive, info)
            yield Member(parts, info.isdir(), opened, info.size, problem)
        if isinstance(raw, gzip.GzipFile):
            _read_to_end(raw)


def _read_to_end(file: gzip.GzipFile) -> None:
    """Read what follows the last member: gzip compares its checksum at the end of all bytes.

    Raises:
      tarfile.ReadError: there is too much.
    """
    for _ in range(MAX_PADDING // BLOCK_BYTES + 1):
        if not file.read(BLOCK_BYTES):
            return
    raise tarfile.ReadError(f"more than {MAX_PADDING:,} bytes follow its last member")


def _open_in_zip(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> IO[bytes]:
    with archive.open(info) as file:  # which may hold more than it claims
        return io.BytesIO(file.read(info.file_size + 1))


def _open_in_tar(archive: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    file = archive.extractfile(info)
    return io.BytesIO(file.read() if file else b"")


class _CheckedHeader(tarfile.TarInfo):
    """The header of a member; tarfile takes a damaged one for the end of the archive."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        file: IO[bytes] = archive.fileobj  # type: ignore[assignment]
        start = file.tell()
        try:
            return super().fromtarfile(archive)
        except END_OF_ARCHIVE:
            raise
        except (tarfile.HeaderError, IndexError) as error:
            file.seek(start)
            if any(file.read(tarfile.BLOCKSIZE)):  # else the zeros at the end are cut off
                problem = f"the header of a member is damaged: {error}"
                raise tarfile.ReadError(problem) from None
            raise


class _BoundedReader(io.BufferedIOBase):
    """A file that refuses to read much at once: tarfile reads a header of any size it claims."""

    def __init__(self, file: io.BufferedIOBase) -> None:
        self.file = file

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= MAX_FILE_BYTES:
            raise ValueError("a header claims too many bytes")
        return self.file.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()


def _checked_parts(
    name: str, is_folder: bool, root: Path, seen: set[tuple[str, ...]]
) -> tuple[str, ...]:
    """Split the name of an archive's member, and refuse one that leads out, or a file twice."""
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if name.startswith("/") or ".." in parts or "\\" in name or "\0" in name:
        raise UserError(
            f"{root} has a member named {shorten(name)}; allowed: relative paths with / and "
            "without ..; pack it again"
        )
    if is_folder or is_ignored(parts):
        return parts
    if parts in seen:
        raise UserError(f"{root} has two members named {shorten(name)}; pack it again")
    seen.add(parts)
    return parts
