"""Weights on disk: safetensors files with all that is needed to use them in their metadata."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import haiku as hk
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from vit_hk.atomic import replacing
from vit_hk.calibration import Calibration, calibration_shapes
from vit_hk.data.dataset import Dataset
from vit_hk.errors import UserError, check_file_exists, in_one_line, shorten, unreadable
from vit_hk.model.vit import make_model, parameter_shapes
from vit_hk.params import ModelSettings
from vit_hk.runtime.aligned import aligned_empty
from vit_hk.runtime.memory import check_free_host_memory
from vit_hk.weights_metadata import (
    CALIBRATION_PREFIX,
    METADATA_KEY,
    WeightsInfo,
    check_header,
    check_header_length,
    check_weights_match,
    parse_metadata,
)

REMEDY = "make it again with: dvc repro --force --single-item train"
# For a file that a person has named, or the default one.
NAME_ANOTHER = (
    f"if dvc repro made it, {REMEDY}; otherwise name another weights file; those of other "
    "libraries are read with: python -m vit_hk import"
)
DTYPES = {"F16": "float16", "F32": "float32", "F64": "float64"}  # safetensors' names and NumPy's


class Weights(NamedTuple):
    """The content of a weights file."""

    params: hk.Params
    info: WeightsInfo
    calibration: Calibration | None  # None where the file has none


def save_weights(
    path: str | Path, params: hk.Params, info: WeightsInfo, calibration: Calibration | None = None
) -> None:
    """Write float32 parameters, their metadata and their calibration, if there is one.

    The same input gives the same bytes.

    Raises:
      UserError: the class names make a header that no reader would accept.
    """
    # In C order: safetensors writes the memory of an array, whatever its strides.
    tensors = {name: np.asarray(value, order="C") for name, value in _flatten(params).items()}
    for name, value in calibration._asdict().items() if calibration else ():
        tensors[CALIBRATION_PREFIX + name] = np.asarray(value, order="C")
    # Not save_file: its error on a full disk is no OSError, and only the owner may read the file.
    content = save(tensors, {METADATA_KEY: info.model_dump_json()})
    check_header_length(int.from_bytes(content[:8], "little"), Path(path))
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def load_weights(path: str | Path, settings: ModelSettings, dataset: Dataset) -> Weights:
    """Read weights and make sure that they belong to these settings and this data set.

    Raises:
      UserError: the file is missing or damaged, or was made for another architecture or
        other data; the message says what differs.
    """
    path = Path(path)
    check_file_exists(path, stage="train")
    weights = read_weights(path)
    check_weights_match(path, weights.info, settings, dataset)
    return weights


def read_weights(path: Path, remedy: str = REMEDY) -> Weights:
    """Read a weights file, whatever its settings and its data set, and check all that it holds.

    Args:
      path: the file.
      remedy: what to do about a bad file, for the end of the error message.

    Raises:
      UserError: the file cannot be read, is damaged, or is larger than the free memory.
    """
    try:
        check_header(path)
        with safe_open(path, "np") as file:
            info = parse_metadata(file.metadata())
            slices = {name: file.get_slice(name) for name in sorted(file.keys())}
            found = {name: _dtype_and_shape(tensor) for name, tensor in slices.items()}
            _check_shapes(path, info, found, remedy)
            shapes = {name: tensor.get_shape() for name, tensor in slices.items()}
        check_free_host_memory(path.stat().st_size)
        tensors = _read_tensors(path, shapes)
    except MemoryError as error:
        reason = str(error) or "allocation failed"
        raise UserError(
            f"{path} does not fit into memory ({reason}); close other programs"
        ) from None
    except PermissionError as error:
        raise unreadable(path, error) from None
    except (OSError, SafetensorError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} is not a weights file of this project ({in_one_line(error)}); {remedy}"
        ) from None
    _check_finite(path, tensors, remedy)
    calibration = _take_calibration(path, tensors, remedy)
    return Weights(_nest(tensors), info, calibration)


def _dtype_and_shape(tensor: Any) -> str:
    """Describe a tensor that has not been read."""
    code = tensor.get_dtype()
    return f"{DTYPES.get(code, code)} {list(tensor.get_shape())}"


def _check_shapes(path: Path, info: WeightsInfo, found: dict[str, str], remedy: str) -> None:
    shapes = parameter_shapes(make_model(info.model, len(info.class_names)), info.image_shape)
    expected = {name: f"{x.dtype} {list(x.shape)}" for name, x in _flatten(shapes).items()}
    if any(name.startswith(CALIBRATION_PREFIX) for name in found):
        statistics = calibration_shapes(len(info.class_names), info.model.hidden_size)
        for name, shape in statistics.items():
            expected[CALIBRATION_PREFIX + name] = f"float32 {list(shape)}"
    for name in sorted(expected.keys() | found.keys()):
        if found.get(name) != expected.get(name):
            raise UserError(
                f"{path}: tensor {shorten(name)} is {found.get(name, 'missing')}, its own settings "
                f"require {expected.get(name, 'none')}; {remedy}"
            )


def _read_tensors(path: Path, shapes: dict[str, list[int]]) -> dict[str, np.ndarray]:
    """Read float32 tensors of a file whose header has been checked.

    Not get_tensor: it maps the file into memory, which then holds it twice, and aligns nothing.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        tensors = {}
        for name, shape in shapes.items():
            tensors[name] = aligned_empty(shape, np.float32)
            file.seek(8 + length + header[name]["data_offsets"][0])
            if file.readinto(tensors[name].reshape(-1).data) != tensors[name].nbytes:
                raise OSError(f"tensor {name!r} is cut off")
    return tensors


def _check_finite(path: Path, tensors: dict[str, np.ndarray], remedy: str) -> None:
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise UserError(f"{path}: tensor {name!r} has numbers that are not finite; {remedy}")


def _take_calibration(
    path: Path, tensors: dict[str, np.ndarray], remedy: str
) -> Calibration | None:
    """Remove the calibration from the tensors of a file, and return it."""
    found = {name for name in tensors if name.startswith(CALIBRATION_PREFIX)}
    if not found:
        return None
    calibration = Calibration(*(tensors.pop(CALIBRATION_PREFIX + f) for f in Calibration._fields))
    if calibration.temperature <= 0:
        raise UserError(
            f"{path}: tensor '{CALIBRATION_PREFIX}temperature' is {calibration.temperature}; "
            f"allowed: more than 0; {remedy}"
        )
    return calibration


def _flatten(params: hk.Params) -> dict[str, Any]:
    return {
        f"{module}/{name}": value
        for module, leaves in params.items()
        for name, value in leaves.items()
    }


def _nest(tensors: dict[str, np.ndarray]) -> hk.Params:
    params: dict[str, dict[str, np.ndarray]] = {}
    for path, value in sorted(tensors.items()):
        module, name = path.rsplit("/", 1)
        params.setdefault(module, {})[name] = value
    return params
