"""The NPZ file that `download` writes and the other stages read: its schema and its checks."""

import dataclasses
import errno
import unicodedata
import zipfile
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from vit_hk.atomic import replacing
from vit_hk.data.npz import map_arrays
from vit_hk.data.spool import NoRoomError
from vit_hk.errors import UserError, check_file_exists, in_one_line, shorten, unreadable
from vit_hk.params import MAX_IMAGE_SIDE, Preparation, is_control

PREPARATION = "preparation"  # an optional array: the fields of Preparation as JSON
ARRAYS = ("x_train", "y_train", "x_test", "y_test", "name", "source", "class_names")
SAMPLE_SOURCE = "offline sample of 5,000 digits"  # Dataset.source of the offline sample
MAX_CLASSES = 2_000  # the report compares each class with each other one
MAX_CHARACTERS = 200  # of a name
MIN_IMAGE_SIDE = 5  # pixels; a smaller first axis of an image is taken for its channels


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Images and labels of a training and a test split.

    Attributes:
      x_train, x_test: uint8 [N, height, width, channels]; of a file they are memory-mapped and
        read-only, so they may be larger than memory.
      y_train, y_test: int32 [N], each in [0, number of classes).
      name: name of the data set, for example "mnist".
      source: where the images come from; distinguishes full MNIST from the offline sample.
      class_names: a name for each class.
      preparation: how images became arrays of this shape; None where that is unknown.
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    name: str
    source: str
    class_names: tuple[str, ...]
    preparation: Preparation | None = None

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height and width of an image in pixels, and its number of channels."""
        height, width, channels = self.x_train.shape[1:]
        return height, width, channels

    @property
    def num_classes(self) -> int:
        """The number of classes, C."""
        return len(self.class_names)


def save_dataset(dataset: Dataset, path: str | Path) -> None:
    """Write a data set as an NPZ file; the same data gives the same bytes.

    The arrays are stored uncompressed and written in parts, so mapped ones take no memory.
    """
    arrays: dict[str, Any] = {name: getattr(dataset, name) for name in ARRAYS}
    if dataset.preparation is not None:
        arrays[PREPARATION] = dataset.preparation.model_dump_json()
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def load_dataset(path: str | Path) -> Dataset:
    """Read the NPZ file that the stage `download` has written.

    Raises:
      UserError: the file is missing or damaged, lacks an array, or holds an invalid one.
    """
    path = Path(path)
    check_file_exists(path, stage="download")
    return read_dataset(path, "move it away, and make it again with: dvc repro download")


def read_source(path: Path) -> str | None:
    """Return the array `source` of an NPZ file, or None where it cannot be read."""
    try:
        source = map_arrays(path, ("source",))["source"]
        _check_text_type(source, f"{path}: source", 0)
        return _checked_text(source, f"{path}: source")[0]
    except (UserError, OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error):
        return None
    except (NotImplementedError, RuntimeError):  # encryption, patches
        return None


def read_dataset(path: Path, remedy: str) -> Dataset:
    """Map the images of an NPZ file into memory, and check all of its arrays.

    Accepts images as [images, height, width] or [images, height, width, channels]. The whole file
    is read once for its checksums; of its arrays only labels and texts are kept in memory.

    Args:
      path: the file, which must exist.
      remedy: what to do about a bad file, for the end of the error message.

    Raises:
      UserError: the file is damaged, lacks an array, or holds an invalid one.
    """
    try:
        return _checked(map_arrays(path, ARRAYS, (PREPARATION,)), path)
    except NoRoomError as error:
        raise UserError(f"{path} cannot be decompressed: {error}") from None
    except UserError as error:
        problem = str(error)
    except MemoryError:
        raise _too_large(path) from None
    except PermissionError as error:
        raise unreadable(path, error) from None
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, OSError) and error.errno == errno.ENOMEM:  # a limit: ulimit -v
            raise _too_large(path) from None
        problem = f"{path} is damaged ({in_one_line(error)})"
    except (NotImplementedError, RuntimeError) as error:  # encryption, patches
        problem = f"{path} is not an NPZ that NumPy writes ({in_one_line(error)})"
    raise UserError(f"{problem}; {remedy}")


def _too_large(path: Path) -> UserError:
    return UserError(
        f"{path} does not fit into the memory that this process may address; raise that limit "
        "(ulimit -v), or use fewer images"
    )


def _checked(arrays: dict[str, np.ndarray], path: Path) -> Dataset:
    for name in {"name", "source", "class_names", PREPARATION} & arrays.keys():
        _check_text_type(arrays[name], f"{path}: {name}", int(name == "class_names"))
    class_names = _checked_text(arrays["class_names"], f"{path}: class_names")
    if len(class_names) < 2:
        raise UserError(f"{path}: class_names has {len(class_names)} entries; allowed: 2 or more")
    repeated, count = Counter(class_names).most_common(1)[0]
    if count > 1:  # tables and figures identify classes by their names
        raise UserError(
            f"{path}: class_names holds {shorten(repeated)} {count} times; allowed: once"
        )
    splits = {}
    for split in ("train", "test"):
        images = _checked_images(arrays[f"x_{split}"], f"{path}: x_{split}")
        labels = arrays[f"y_{split}"]
        if labels.dtype.kind not in "iu" or labels.ndim != 1:
            raise UserError(f"{path}: y_{split} is {_describe(labels)}; allowed: whole numbers [N]")
        if len(images) != len(labels):
            raise UserError(
                f"{path}: x_{split} has {len(images):,} images, y_{split} {len(labels):,} labels; "
                "the counts must be equal"
            )
        _check_labels(labels, class_names, f"{path}: y_{split}")
        splits[f"x_{split}"], splits[f"y_{split}"] = images, labels.astype(np.int32)
    train_shape, test_shape = splits["x_train"].shape[1:], splits["x_test"].shape[1:]
    if train_shape != test_shape:
        raise UserError(
            f"{path}: images of x_train are {train_shape}, those of x_test {test_shape} "
            "(height, width, channels); they must be equal"
        )
    (name,) = _checked_text(arrays["name"], f"{path}: name")
    (source,) = _checked_text(arrays["source"], f"{path}: source")
    preparation = _checked_preparation(arrays.get(PREPARATION), train_shape, path)
    return Dataset(
        **splits, name=name, source=source, class_names=class_names, preparation=preparation
    )


def _checked_preparation(
    array: np.ndarray | None, image_shape: tuple[int, ...], path: Path
) -> Preparation | None:
    if array is None:
        return None
    (text,) = _checked_text(array, f"{path}: {PREPARATION}")
    try:
        preparation = Preparation.model_validate_json(text)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise UserError(
            f"{path}: {PREPARATION} is {shorten(text)}, which is not how images are prepared "
            f"({in_one_line(problem['msg'])}); leave this array out where it is unknown"
        ) from None
    if preparation.image_shape != image_shape:
        raise UserError(
            f"{path}: {PREPARATION} makes images {preparation.image_shape}, those of x_train are "
            f"{image_shape} (height, width, channels); they must be equal"
        )
    return preparation


def _check_text_type(array: np.ndarray, label: str, num_axes: int) -> None:
    """Check that an array holds text, and not too much of it, before it is read."""
    if array.dtype.kind != "U" or array.ndim != num_axes:
        raise UserError(f"{label} is {_describe(array)}; allowed: text")
    if array.dtype.itemsize > 4 * MAX_CHARACTERS or array.size > MAX_CLASSES:
        raise UserError(
            f"{label} is {_describe(array)}; allowed: at most {MAX_CLASSES:,} texts of at most "
            f"{MAX_CHARACTERS} characters"
        )


def _checked_text(array: np.ndarray, label: str) -> tuple[str, ...]:
    try:
        texts = tuple(np.atleast_1d(array).tolist())
    except (ValueError, SystemError):
        raise UserError(f"{label} holds code points that are no characters") from None
    for number, text in enumerate(texts):
        if problem := name_problem(text):
            which = f"{label}[{number}]" if array.ndim else label
            raise UserError(f"{which} is {shorten(text)}{problem}")
    return texts


def name_problem(text: str) -> str | None:
    """Return why a text cannot be the name of a class or a data set, or None if it can.

    The problem goes after the text in a message.
    """
    if len(text) > MAX_CHARACTERS:
        return f", which has {len(text)} characters; allowed: at most {MAX_CHARACTERS}"
    # More than spaces, joiners and control characters.
    if all(unicodedata.category(c)[0] in "CZ" for c in text):
        return "; allowed: a text with a visible character"
    if bad := next((c for c in text if "\udc80" <= c <= "\udcff"), ""):
        # So Python reads a byte of a file's name that is no UTF-8.
        return f", which is not in UTF-8 (byte 0x{ord(bad) - 0xDC00:02X}); rename it in UTF-8"
    if bad := next(filter(is_control, text), ""):
        return (
            f", which has the control character U+{ord(bad):04X}; "
            "allowed: letters, digits, signs and spaces"
        )
    return None


def _checked_images(images: np.ndarray, label: str) -> np.ndarray:
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or 0 in images.shape:
        raise UserError(
            f"{label} is {_describe(images)}; allowed: uint8 [N, height, width] or "
            "[N, height, width, channels], nowhere 0"
        )
    if images.ndim == 4 and images.shape[1] < MIN_IMAGE_SIDE <= min(images.shape[2:]):
        raise UserError(
            f"{label} is {_describe(images)}, which looks like [N, channels, height, width]; "
            "allowed: [N, height, width, channels]; transpose it: x.transpose(0, 2, 3, 1)"
        )
    if max(images.shape[1:3]) > MAX_IMAGE_SIDE:
        raise UserError(
            f"{label} is {_describe(images)}; allowed: sides of at most {MAX_IMAGE_SIDE:,} pixels"
        )
    return images if images.ndim == 4 else images[..., np.newaxis]


def _check_labels(labels: np.ndarray, class_names: tuple[str, ...], label: str) -> None:
    wrong = labels < 0
    wrong |= labels >= len(class_names)
    if wrong.any():
        first = int(wrong.argmax())
        raise UserError(
            f"{label}[{first}] is {labels[first]}; allowed: 0 to {len(class_names) - 1}, one for "
            f"each of the {len(class_names)} class_names ({wrong.sum():,} are wrong)"
        )


def _describe(array: np.ndarray) -> str:
    return f"{array.dtype} {list(array.shape)}"
