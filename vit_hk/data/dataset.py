"""The NPZ file that `download` writes and the other stages read: its schema and its checks."""

import dataclasses
import math
import unicodedata
import warnings
import zipfile
import zlib
from collections import Counter
from pathlib import Path
from typing import IO, Any

import numpy as np
from pydantic import ValidationError

from vit_hk.atomic import replacing
from vit_hk.errors import UserError, check_file_exists, in_one_line, shorten
from vit_hk.params import Preparation

PREPARATION = "preparation"  # an optional array: the fields of Preparation as JSON
ARRAYS = ("x_train", "y_train", "x_test", "y_test", "name", "source", "class_names")
MAX_BYTES = 8 * 2**30  # of all arrays together, decompressed
MAX_DEFLATE_RATIO = 1032  # the highest compression that zlib can reach
SAMPLE_SOURCE = "offline sample of 5,000 digits"  # Dataset.source of the offline sample
MAX_CLASSES = 10_000
MAX_CHARACTERS = 200  # of a name
MAX_NPY_HEADER = 2**10  # bytes; that of a short text has 128
MIN_IMAGE_SIDE = 5  # pixels; a smaller first axis of an image is taken for its channels
CHUNK = 2**20  # bytes that are decompressed at a time
# Control characters, surrogates, private and unassigned code points, line and paragraph separators.
# Format characters (Cf), such as the zero-width joiner, are parts of words in some scripts.
CONTROL_CATEGORIES = {"Cc", "Cs", "Co", "Cn", "Zl", "Zp"}


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Images and labels of a training and a test split.

    Attributes:
      x_train, x_test: uint8 [N, height, width, channels].
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
    """Write a data set as an NPZ file; the same data gives the same bytes."""
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
        with zipfile.ZipFile(path) as archive, archive.open("source.npy") as file:
            size = archive.getinfo("source.npy").file_size
            if size > 4 * MAX_CHARACTERS + MAX_NPY_HEADER:
                return None
            (source,) = _checked_text(_read_array(file, size, f"{path}: source"), "source")
            return source
    except (UserError, OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error):
        return None
    except (NotImplementedError, RuntimeError):  # encryption, patches
        return None


def read_dataset(path: Path, remedy: str) -> Dataset:
    """Read an NPZ file and check all of its arrays.

    Accepts images as [images, height, width] or [images, height, width, channels]. Sizes are
    checked against what the file can hold before memory is taken, and nothing is unpickled.

    Args:
      path: the file, which must exist.
      remedy: what to do about a bad file, for the end of the error message.

    Raises:
      UserError: the file is damaged, lacks an array, or holds an invalid one.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _checked(_read_arrays(archive, path), path)
    except UserError as error:
        problem = str(error)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        problem = f"{path} is damaged ({in_one_line(error)})"
    except MemoryError:
        raise UserError(
            f"{path} holds more images than fit into memory; close other programs, or use fewer "
            "images"
        ) from None
    except (NotImplementedError, RuntimeError) as error:  # encryption, patches
        problem = f"{path} is not an NPZ that NumPy writes ({in_one_line(error)})"
    raise UserError(f"{problem}; {remedy}")


def _read_arrays(archive: zipfile.ZipFile, path: Path) -> dict[str, np.ndarray]:
    members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    if missing := [name for name in ARRAYS if name not in members]:
        raise UserError(f"{path} has no array {missing[0]}; it must hold {', '.join(ARRAYS)}")
    if len(members) < len(archive.infolist()):
        raise UserError(f"{path} holds an array twice")
    names = [name for name in (*ARRAYS, PREPARATION) if name in members]
    file_size = path.stat().st_size
    for name in names:
        info = members[name]
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise UserError(f"{path}: {name} is compressed in a way that NumPy does not write")
        if (
            info.compress_size > file_size
            or info.file_size > MAX_DEFLATE_RATIO * info.compress_size
        ):
            raise UserError(f"{path}: {name} claims more bytes than the file holds")
    if (total := sum(members[name].file_size for name in names)) > MAX_BYTES:
        raise UserError(f"{path} unpacks to {total:,} bytes; at most {MAX_BYTES:,} are allowed")
    arrays = {}
    for name in names:
        with archive.open(members[name]) as file:
            arrays[name] = _read_array(file, members[name].file_size, f"{path}: {name}")
    return arrays


def _read_array(file: IO[bytes], size: int, label: str) -> np.ndarray:
    """Read one .npy member of `size` bytes, after checking that its header matches that size."""
    version = np.lib.format.read_magic(file)
    # Later versions are for headers of up to 4 GiB, which no array here needs.
    if version != (1, 0):
        raise UserError(f"{label} has .npy version {version}; allowed: 1.0")
    try:
        with warnings.catch_warnings(action="error"):
            shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
    except Exception:  # NumPy evaluates the header, and garbage raises a dozen kinds of error
        raise UserError(f"{label} has a header that cannot be read") from None
    if dtype.hasobject:
        raise UserError(f"{label} holds pickled objects, which are never loaded")
    claimed, available = math.prod(shape) * dtype.itemsize, size - file.tell()
    if claimed != available:
        raise UserError(
            f"{label} claims {claimed:,} bytes of data, its part of the file {available:,}"
        )
    data = _read_bytes(file, available).view(dtype)
    return data.reshape(shape, order="F" if fortran_order else "C")


def _read_bytes(file: IO[bytes], count: int) -> np.ndarray:
    """Read the rest of a file as uint8 [count], in chunks: read() would copy it several times."""
    data = np.empty(count, np.uint8)
    start = 0
    while chunk := file.read(CHUNK):  # up to the end, where the CRC is checked
        data[start : start + len(chunk)] = np.frombuffer(chunk, np.uint8)
        start += len(chunk)
    if start < count:
        raise EOFError(f"{count - start:,} bytes are missing")
    return data


def _checked(arrays: dict[str, np.ndarray], path: Path) -> Dataset:
    for name in {"name", "source", "class_names", PREPARATION} & arrays.keys():
        if arrays[name].dtype.kind != "U" or arrays[name].ndim != (name == "class_names"):
            raise UserError(f"{path}: {name} is {_describe(arrays[name])}; allowed: text")
        if arrays[name].dtype.itemsize > 4 * MAX_CHARACTERS or arrays[name].size > MAX_CLASSES:
            raise UserError(
                f"{path}: {name} is {_describe(arrays[name])}; allowed: at most {MAX_CLASSES:,} "
                f"texts of at most {MAX_CHARACTERS} characters"
            )
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
    if bad := next((c for c in text if unicodedata.category(c) in CONTROL_CATEGORIES), ""):
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
