"""Weights on disk: safetensors files with all that is needed to use them in their metadata."""

from pathlib import Path
from typing import Any

import haiku as hk
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from vit_hk.atomic import replacing
from vit_hk.data.dataset import Dataset
from vit_hk.errors import UserError, check_file_exists, in_one_line, shorten
from vit_hk.model.vit import make_model, parameter_shapes
from vit_hk.params import ModelSettings
from vit_hk.weights_metadata import METADATA_KEY, WeightsInfo, check_weights_match, parse_metadata

REMEDY = "make it again with: dvc repro --force --single-item train"
MAX_HEADER = 2**23  # bytes; a thousand layers need 2 million
DTYPES = {"F16": "float16", "F32": "float32", "F64": "float64"}  # safetensors' names and NumPy's


def save_weights(path: str | Path, params: hk.Params, info: WeightsInfo) -> None:
    """Write float32 parameters and their metadata; the same input gives the same bytes."""
    tensors = {name: np.asarray(value) for name, value in _flatten(params).items()}
    # Not save_file: its error on a full disk is no OSError, and only the owner may read the file.
    with replacing(path) as temporary:
        temporary.write_bytes(save(tensors, {METADATA_KEY: info.model_dump_json()}))


def load_weights(
    path: str | Path, settings: ModelSettings, dataset: Dataset
) -> tuple[hk.Params, WeightsInfo]:
    """Read weights and make sure that they belong to these settings and this data set.

    Raises:
      UserError: the file is missing or damaged, or was made for another architecture or
        other data; the message says what differs.
    """
    path = Path(path)
    check_file_exists(path, stage="train")
    try:
        _check_header(path)
        with safe_open(path, "np") as file:
            info = parse_metadata(file.metadata())
            check_weights_match(path, info, settings, dataset)
            names = sorted(file.keys())
            found = {name: _dtype_and_shape(file.get_slice(name)) for name in names}
            _check_shapes(path, info, found)
            tensors = {name: file.get_tensor(name) for name in names}
    except (OSError, SafetensorError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} is not a weights file of this project ({in_one_line(error)}); {REMEDY}"
        ) from None
    _check_finite(path, tensors)
    return _nest(tensors), info


def _check_header(path: Path) -> None:
    """Check the length of the header, which is read into memory as a whole."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > MAX_HEADER:
        raise OSError(f"its header claims {length:,} bytes")


def _dtype_and_shape(tensor: Any) -> str:
    """Describe a tensor that has not been read."""
    code = tensor.get_dtype()
    return f"{DTYPES.get(code, code)} {list(tensor.get_shape())}"


def _check_shapes(path: Path, info: WeightsInfo, found: dict[str, str]) -> None:
    shapes = parameter_shapes(make_model(info.model, len(info.class_names)), info.image_shape)
    expected = {name: f"{x.dtype} {list(x.shape)}" for name, x in _flatten(shapes).items()}
    for name in sorted(expected.keys() | found.keys()):
        if found.get(name) != expected.get(name):
            raise UserError(
                f"{path}: tensor {shorten(name)} is {found.get(name, 'missing')}, its own settings "
                f"require {expected.get(name, 'none')}; {REMEDY}"
            )


def _check_finite(path: Path, tensors: dict[str, np.ndarray]) -> None:
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise UserError(f"{path}: tensor {name!r} has numbers that are not finite; {REMEDY}")


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
