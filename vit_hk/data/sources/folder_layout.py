"""Which class and which split each file of a folder of images belongs to, by its path alone."""

import dataclasses
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from vit_hk.data.dataset import MAX_CLASSES, name_problem
from vit_hk.data.splits import stratified_split
from vit_hk.errors import UserError, shorten

SPLITS = ("train", "test")
# Folders of splits, such as training or seg_test: left alone they would be read as classes.
SPLIT_NAME = re.compile(
    r"(?:.*[ _-])?(train|test|val|dev|eval|holdout)(?:ing|id|idation|uation)?"
    r"(?:[ _-]?(?:data|images?|set|split|\d+))?",
    re.IGNORECASE,
)
# What operating systems put beside images. All names that begin with a dot are hidden too.
SYSTEM_NAMES = {"__macosx", "thumbs.db", "desktop.ini"}
NO_CLASS = "lies in no folder of a class"  # the problem of such a file
TEST_SPLIT_SEED = 0  # fixed, so that trainings with other seeds are tested on the same images

Parts = tuple[str, ...]  # the names along a path, for example ("train", "cat", "1.png")


@dataclasses.dataclass(frozen=True)
class Layout:
    """The classes of a folder of images, and its files by split.

    Attributes:
      class_names: names of the folders of classes, in natural order.
      files: for each of SPLITS, the paths of its images in natural order.
      labels: for each of SPLITS, their classes, int32 [N].
      problems: why a file has no class, or a class no valid name.
    """

    class_names: tuple[str, ...]
    files: list[list[Parts]]
    labels: list[np.ndarray]
    problems: dict[Parts, str]


def find_layout(
    root: Path, files: Sequence[Parts], folders: Iterable[Parts], test_fraction: float
) -> Layout:
    """Find classes and splits.

    Args:
      root: the folder or archive, for messages.
      files: paths of all images, relative to `root`.
      folders: paths of folders, which may be empty; those of `files` need not be among them.
      test_fraction: share of each class that becomes test images, if there are no folders train
        and test.

    Raises:
      UserError: there are fewer than two classes or too many, a split has no image, or folders are
        called like splits but not train and test.
    """
    all_folders = {*folders, *(path[:n] for path in files for n in range(1, len(path)))}
    has_splits = _has_splits(root, all_folders)
    depth = 1 if has_splits else 0  # of the class in a path
    class_names = _sorted_classes(root, {p[depth] for p in all_folders if len(p) == depth + 1})
    problems: dict[Parts, str] = {
        path: f"a class{problem}"
        for path in all_folders
        if len(path) == depth + 1 and (problem := name_problem(path[depth]))
    }
    problems |= {path: NO_CLASS for path in files if len(path) < depth + 2}
    placed = sorted((path for path in files if len(path) >= depth + 2), key=_natural_path)
    numbers = {name: number for number, name in enumerate(class_names)}
    labels = np.array([numbers[path[depth]] for path in placed], np.int32)
    if has_splits or not placed:
        rows = [np.flatnonzero([path[0] == split for path in placed]) for split in SPLITS]
    else:
        rows = list(stratified_split(labels, test_fraction, TEST_SPLIT_SEED))
    for split, found in zip(SPLITS, rows, strict=True):
        if not len(found) and not problems:
            remedy = f"put some into {split}/CLASS" if has_splits else "a class needs two or more"
            raise UserError(f"{root} has no {split} images; {remedy}")
    return Layout(
        class_names,
        [[placed[row] for row in found] for found in rows],
        [labels[found] for found in rows],
        problems,
    )


def is_ignored(parts: Parts) -> bool:
    """Return whether a file or a folder is hidden or the system's, from its relative path."""
    return any(name.startswith(".") or name.lower() in SYSTEM_NAMES for name in parts)


def natural_order(name: str) -> str:
    """Return a key that sorts names as people do: 2 before 10, without regard to case.

    Names hold no null character. The key is one text, since there may be a million of them.

    >>> sorted(["c10", "C2", "b"], key=natural_order)
    ['b', 'C2', 'c10']
    """
    pieces = re.split(r"([0-9]+)", name.casefold())  # digits stand at odd positions
    for number, piece in enumerate(pieces):
        if number % 2:
            digits = piece.lstrip("0")
            # Of numbers without leading zeros the longer one is greater.
            pieces[number] = chr(1 + len(digits)) + digits
        else:
            pieces[number] = piece + "\0"  # before all that a longer name goes on with
    return "".join(pieces) + "\0" + name + "\0"


def _natural_path(path: Parts) -> str:
    return "".join(map(natural_order, path))


def _has_splits(root: Path, folders: set[Parts]) -> bool:
    """Return whether the folders at the top are train and test, not classes."""
    top = {path[0] for path in folders}
    if top == set(SPLITS):
        return True
    splits = {name: match[1].lower() for name in top if (match := SPLIT_NAME.fullmatch(name))}
    # One alone may be a class, a train beside a bus, unless it holds the classes beside it.
    inside = [path for path in folders if len(path) == 2 and path[0] in splits]
    holds_classes = any(path[1] in top and path[1] not in splits for path in inside)
    if len(set(splits.values())) > 1 or holds_classes:
        names = ", ".join(sorted(map(shorten, top)))
        raise UserError(
            f"{root} has the folders {names}; allowed: train and test, these alone (validation "
            "images are taken from train: train.validation_fraction), or a folder for each class, "
            "none of which is called like a split"
        )
    return False


def _sorted_classes(root: Path, names: Iterable[str]) -> tuple[str, ...]:
    class_names = tuple(sorted(set(names), key=natural_order))
    if not 2 <= len(class_names) <= MAX_CLASSES:
        found = (
            f"{len(class_names):,} folders of classes" if class_names else "no folder of a class"
        )
        if len(class_names) == 1:
            found = f"one folder of a class, {shorten(class_names[0])}"
        raise UserError(
            f"{root} has {found}; allowed: 2 to {MAX_CLASSES:,} folders, as CLASS/IMAGE, or as "
            "train/CLASS/IMAGE and test/CLASS/IMAGE"
        )
    return class_names
