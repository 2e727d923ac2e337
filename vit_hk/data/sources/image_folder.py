"""A folder of images, or a zip or tar archive of one, as the source of a data set."""

import collections
import dataclasses
import os
import warnings
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO

import numpy as np
from tqdm import tqdm

from vit_hk.data.dataset import MAX_CHARACTERS, Dataset, name_problem
from vit_hk.data.image_preparation import (
    NO_MEMORY,
    UnreadableImageError,
    open_image,
    prepare_image,
)
from vit_hk.data.sources.folder_layout import (
    NO_CLASS,
    SPLITS,
    Parts,
    find_layout,
    is_ignored,
)
from vit_hk.data.sources.image_spool import ImageSpool
from vit_hk.data.sources.members import ARCHIVE_ERRORS, Member, iterate_members
from vit_hk.errors import UserError, in_one_line, shorten
from vit_hk.params import DataSettings, Preparation
from vit_hk.process_limits import usable_cores

SOURCE_PREFIX = "folder of images: "  # marks a data set that was read from a folder
ENDINGS = (".gz", ".tgz", ".tar", ".zip")  # of archives, which the name of a data set omits
MAX_LISTED = 20  # problems in an error message
MAX_WAITING = 16  # files that are in memory and not yet decoded
MAX_WAITING_BYTES = 2**28  # of these files together


@dataclasses.dataclass
class Listing:
    """What a folder or an archive holds.

    Attributes:
      top: the one folder that an archive has at its top, which its paths then omit, or ().
      files, folders: their paths, without hidden ones.
      problems: why a file cannot be read.
      num_hidden: the number of files that are ignored.
    """

    top: Parts
    files: list[Parts]
    folders: list[Parts]
    problems: dict[Parts, str]
    num_hidden: int


def load_image_folder(settings: DataSettings) -> Dataset:
    """Read, check and prepare all images of a folder or an archive.

    Raises:
      UserError: `data.root` cannot be read, has no two classes or a split without images, or holds
        files that cannot be used. All of these are named, up to a limit.
    """
    root = Path(settings.root)
    name = _name_of(root)
    if problem := name_problem(name):  # of the folder that a link leads to
        raise UserError(f"{root} has the name {shorten(name)}{problem}; give it another name")
    listing = _list_members(root)
    if listing.num_hidden:
        print(f"{root}: hidden files and files of the system, ignored: {listing.num_hidden:,}")
    try:
        layout = find_layout(root, listing.files, listing.folders, settings.test_fraction)
    except UserError:
        if listing.problems:  # the reason why classes or splits are missing, perhaps
            raise UserError(_describe(root, listing.problems)) from None
        raise
    preparation = _make_preparation(settings)
    files = [listing.top + path for files in layout.files for path in files]
    with ImageSpool(len(files), preparation.image_shape) as spool:
        indices = {path: index for index, path in enumerate(files)}
        read_problems = _read_into(spool, indices, root, preparation)
        layout_problems = {listing.top + path: text for path, text in layout.problems.items()}
        if problems := listing.problems | layout_problems | read_problems:
            raise UserError(_describe(root, problems))
        images = spool.map()
    if settings.channels is None and _is_grey(images):
        preparation = preparation.model_copy(update={"channels": 1})
        images = images[..., :1]
    num_train = len(layout.labels[0])
    return Dataset(
        x_train=images[:num_train],
        y_train=layout.labels[0],
        x_test=images[num_train:],
        y_test=layout.labels[1],
        name=name,
        source=f"{SOURCE_PREFIX}{root.resolve().name}"[:MAX_CHARACTERS],
        class_names=layout.class_names,
        preparation=preparation,
    )


def _list_members(root: Path) -> Listing:
    listing = Listing((), [], [], {}, 0)
    for member in iterate_members(root):
        if is_ignored(member.parts):
            listing.num_hidden += not member.is_folder
        elif member.problem:
            listing.problems[member.parts] = member.problem
        elif member.is_folder:
            listing.folders.append(member.parts)
        else:
            listing.files.append(member.parts)
    if not root.is_dir():
        _omit_top(listing)
    return listing


def _omit_top(listing: Listing) -> None:
    """Omit the folder that all members of an archive lie in, as in photos.zip: photos/cat/1.png."""
    tops = {path[:1] for path in listing.files if len(path) > 1}
    tops |= {path[:1] for path in listing.folders if path}
    has_folders = any(len(path) > 2 for path in listing.files) or any(
        len(path) > 1 for path in listing.folders
    )
    if len(tops) == 1 and has_folders and not tops & {(split,) for split in SPLITS}:
        (listing.top,) = tops
        beside = [path for path in listing.files if len(path) == 1]
        listing.problems |= dict.fromkeys(beside, NO_CLASS)
        listing.files = [path[1:] for path in listing.files if len(path) > 1]
        listing.folders = [path[1:] for path in listing.folders if len(path) > 1]


def _make_preparation(settings: DataSettings) -> Preparation:
    height, width = settings.image_size or (0, 0)  # never None for a folder
    return Preparation(
        height=height,
        width=width,
        channels=settings.channels or 3,
        resize=settings.resize,
        background=settings.background,
    )


def _read_into(
    spool: ImageSpool, indices: dict[Parts, int], root: Path, preparation: Preparation
) -> dict[Parts, str]:
    """Prepare images on the cores that may be used, and return why files cannot be used.

    Pillow decodes and resizes without holding Python's lock, so threads are enough.

    Args:
      spool: receives the images.
      indices: the index of each file's image in the spool, by its path; those that are found are
        removed.
      root: the folder or archive.
      preparation: how images are prepared.
    """
    problems: dict[Parts, str] = {}
    waiting: collections.deque[tuple[Member, Future[str | None]]] = collections.deque()

    def finish_first() -> None:
        member, future = waiting.popleft()
        bar.update()
        if problem := future.result():
            problems[member.parts] = problem

    def too_many_wait() -> bool:
        size = sum(member.size for member, _ in waiting)
        return len(waiting) > MAX_WAITING or size > MAX_WAITING_BYTES

    bar = tqdm(total=len(indices), desc=root.name, unit=" images", disable=None)
    with bar, warnings.catch_warnings(), ThreadPoolExecutor(usable_cores()) as pool:
        # Here as well as in open_image, whose threads would restore one another's filters.
        warnings.simplefilter("ignore")
        for member in iterate_members(root):
            index = indices.pop(member.parts, None)
            if index is None:
                continue
            try:
                source = member.open()
            except MemoryError:
                problems[member.parts] = NO_MEMORY
                continue
            except (OSError, *ARCHIVE_ERRORS) as error:
                problems[member.parts] = f"damaged: {in_one_line(error, 100)}"
                continue
            job = pool.submit(_prepare_into, spool, index, source, preparation)
            waiting.append((member, job))
            while too_many_wait():
                finish_first()
        while waiting:
            finish_first()
    return problems | dict.fromkeys(indices, "has gone while the images were read")


def _prepare_into(
    spool: ImageSpool, index: int, source: Path | IO[bytes], preparation: Preparation
) -> str | None:
    """Write an image into a spool, and return why it cannot be used, or None."""
    try:
        spool.write(index, prepare_image(open_image(source), preparation))
    except UnreadableImageError as error:
        return str(error)
    return None


def _describe(root: Path, problems: dict[Parts, str]) -> str:
    """Return a message with a line for each problem, up to a limit."""
    lines = [f"  {shorten('/'.join(p), 200)}: {why}" for p, why in sorted(problems.items())]
    if len(lines) > MAX_LISTED:
        lines[MAX_LISTED:] = [f"  and {len(lines) - MAX_LISTED:,} more"]
    return "\n".join(
        [f"{root} holds {len(problems):,} files or folders that cannot be used:", *lines,
         "repair them or take them out, and start again"]
    )  # fmt: skip


def _is_grey(images: np.ndarray) -> bool:
    """Return whether all channels of all images [N, H, W, 3] are equal."""
    return all((image == image[..., :1]).all() for image in images)


def _name_of(root: Path) -> str:
    """Return the name of a folder, or of an archive without its ending."""
    path = root.resolve()
    while path.suffix.lower() in ENDINGS and os.path.isfile(root):  # noqa: PTH113, long names
        path = path.with_suffix("")
    return path.name[:MAX_CHARACTERS] or "images"
