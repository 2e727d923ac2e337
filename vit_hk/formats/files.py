"""Files of other libraries, read without their code and without pickle, within limits."""

import errno
import json
import math
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError, safe_open

from vit_hk.data.npz import COMPRESSIONS, MAX_DEFLATE_RATIO
from vit_hk.errors import UserError, in_one_line, shorten, unreadable
from vit_hk.weights_metadata import check_header, check_no_pointer

MAX_JSON = 10_000_000  # bytes; the names of 21,843 classes need a tenth
MAX_BYTES = 16 * 2**30  # of all tensors together
PICKLES = (".bin", ".ckpt", ".pkl", ".pt", ".pth")
# Names of files of weights, without their ends. A folder may hold other pickles too.
PICKLED_TENSORS = ("pytorch_model", "model")
DTYPES = ("F16", "F32")  # of safetensors, which float32 holds exactly
CONFIG, TENSORS = "config.json", "model.safetensors"
REMEDY = "download or write it again"

Config = TypeVar("Config", bound=BaseModel)


class TensorFile(NamedTuple):
    """A file of named tensors, of which none is read yet."""

    path: Path
    shapes: dict[str, tuple[int, ...]]
    load: Callable[[str], np.ndarray]  # name -> float32 tensor


def check_is_no_pickle(path: Path) -> None:
    """Refuse a file that PyTorch wrote as a pickle, which could run any code when it is read.

    Raises:
      UserError: the name ends as such files' names do.
    """
    if path.suffix in PICKLES:
        raise UserError(
            f"{path} is a pickle, which is never loaded, since it can run any code; where you "
            "trust it, write its tensors with safetensors.torch.save_file("
            f"torch.load({path.name!r}, weights_only=True), {TENSORS!r})"
        )


def find_in_folder(folder: Path, name: str) -> Path:
    """Return a file of an exported model's folder.

    Raises:
      UserError: it is not there.
    """
    try:
        files = sorted(folder.iterdir())
    except OSError as error:
        if error.errno == errno.ENOTDIR:
            check_is_no_pickle(folder)
        found = {errno.ENOENT: "not there", errno.ENOTDIR: "a file"}.get(
            error.errno or 0, f"not readable ({error.strerror})"
        )
        raise UserError(
            f"{folder} is {found}; name the folder with {CONFIG} and {TENSORS}"
        ) from None
    path = folder / name
    if path.is_file():
        return path
    for other in files:
        if name == TENSORS and other.stem in PICKLED_TENSORS:
            check_is_no_pickle(other)
    raise UserError(f"{path} is not there; the folder must hold {CONFIG} and {TENSORS}")


def read_config(path: Path, kind: type[Config]) -> Config:
    """Read a JSON file and check the keys that are used.

    Raises:
      UserError: it cannot be read, is too large, or has a wrong or a missing key.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_JSON + 1)
        if len(raw) > MAX_JSON:
            raise UserError(
                f"{path} has more than {MAX_JSON:,} bytes; a configuration needs less: {REMEDY}"
            )
        return kind.model_validate(json.loads(raw))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "missing":
            raise UserError(
                f"{path} has no key {key}; name a folder that the library of this format wrote"
            ) from None
        raise UserError(
            f"{path}: {shorten(key).strip(chr(39))} is {shorten(problem['input'])}; "
            f"{in_one_line(problem['msg'])}"
        ) from None
    except PermissionError as error:
        raise unreadable(path, error) from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not a configuration ({in_one_line(error)}); {REMEDY}") from None


def open_safetensors(path: Path) -> TensorFile:
    """Open a safetensors file.

    Raises:
      UserError: it is damaged, or holds numbers that are not float32 or float16.
    """

    def load(name: str) -> np.ndarray:
        with safe_open(path, "np") as file:
            return file.get_tensor(name).astype(np.float32)

    shapes = {}
    try:
        check_header(path)
        with safe_open(path, "np") as file:
            for name in sorted(file.keys()):
                tensor = file.get_slice(name)
                _check_dtype(path, name, tensor.get_dtype(), DTYPES)
                shapes[name] = tuple(tensor.get_shape())
    except PermissionError as error:
        raise unreadable(path, error) from None
    except (OSError, SafetensorError, ValueError) as error:
        raise UserError(
            f"{path} is not a safetensors file ({in_one_line(error)}); {REMEDY}"
        ) from None
    return TensorFile(path, shapes, load)


def open_npz(path: Path) -> TensorFile:
    """Open an NPZ file; sizes are checked against what the file can hold.

    Raises:
      UserError: it is damaged, or holds arrays that are not float32 or float16.
    """

    def load(name: str) -> np.ndarray:
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return arrays[name].astype(np.float32)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise UserError(
                f"{path}: array {name!r} is damaged ({in_one_line(error)}); {REMEDY}"
            ) from None

    shapes = {}
    check_is_no_pickle(path)
    try:
        check_no_pointer(path)
        with zipfile.ZipFile(path) as archive:
            _check_sizes(path, archive.infolist())
            for info in archive.infolist():
                name = info.filename.removesuffix(".npy")
                if info.compress_type not in COMPRESSIONS:
                    raise ValueError(f"{shorten(name)} is compressed by another method")
                with archive.open(info) as file:
                    shape, dtype = _npy_header(file)
                _check_dtype(path, name, str(dtype), ("float16", "float32"))
                if math.prod(shape) * dtype.itemsize > info.file_size:
                    raise ValueError(f"{shorten(name)} claims more than its part of the file")
                shapes[name] = shape
    except PermissionError as error:
        raise unreadable(path, error) from None
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(
            f"{path} is not an NPZ file of arrays ({in_one_line(error)}); {REMEDY}"
        ) from None
    except (NotImplementedError, RuntimeError) as error:  # encryption, other compressions
        raise UserError(
            f"{path} is not an NPZ that NumPy writes ({in_one_line(error)}); {REMEDY}"
        ) from None
    return TensorFile(path, shapes, load)


def _check_sizes(path: Path, members: list[zipfile.ZipInfo]) -> None:
    total = sum(info.file_size for info in members)
    limit = min(MAX_BYTES, MAX_DEFLATE_RATIO * path.stat().st_size)
    if total > limit:
        raise UserError(f"{path} unpacks to {total:,} bytes; at most {limit:,} are allowed")


def _npy_header(file: Any) -> tuple[tuple[int, ...], np.dtype]:
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("another .npy version than 1.0")
    try:
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    except Exception:  # NumPy evaluates the header, and garbage raises a dozen kinds of error
        raise ValueError("the header of an array cannot be read") from None
    return shape, dtype


def _check_dtype(path: Path, name: str, dtype: str, allowed: tuple[str, ...]) -> None:
    if dtype not in allowed:
        raise UserError(
            f"{path}: {shorten(name)} is {dtype}; allowed: {', '.join(allowed)}; convert it first"
        )
