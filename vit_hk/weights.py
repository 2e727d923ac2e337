"""Weights on disk: safetensors, with all that is needed to use them in the metadata."""

import math
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import haiku as hk
import numpy as np
from pydantic import Field, ValidationError, model_validator
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from vit_hk.atomic import replacing
from vit_hk.dataset import Dataset
from vit_hk.errors import UserError, in_one_line, shorten
from vit_hk.model.vit import make_model, parameter_shapes
from vit_hk.params import ModelSettings, OpenFraction, Seed, Settings

REMEDY = "make it anew with: dvc repro --force --single-item train"
METADATA_KEY = "vit_hk"  # one key with JSON: the order of several is not fixed
VERSION: Final = 1  # of what the metadata says; goes up when it changes
MAX_HEADER = 2**23  # bytes; a thousand layers need 2 million
DTYPES = {"F16": "float16", "F32": "float32", "F64": "float64"}  # safetensors' names and NumPy's


class WeightsInfo(Settings):
    """What weights were trained for and on.

    Attributes:
      version: of this description.
      model: the architecture.
      data: name of the data set; `source` tells the full set from a sample.
      class_names: one for each class.
      image_shape: height, width, channels.
      mean, std: of each channel, on the scale 0 to 1, for `dataset.normalize`.
      seed, validation_fraction: reproduce the split that training did not see.
    """

    version: Literal[1] = VERSION
    model: ModelSettings
    data: str
    source: str
    class_names: list[str] = Field(min_length=2)
    image_shape: list[int] = Field(min_length=3, max_length=3)
    mean: list[Annotated[float, Field(ge=0.0, le=1.0)]]
    std: list[Annotated[float, Field(gt=0.0, le=1.0)]]
    seed: Seed
    validation_fraction: OpenFraction

    @model_validator(mode="after")
    def _one_for_each_channel(self) -> "WeightsInfo":
        if not len(self.mean) == len(self.std) == self.image_shape[2]:
            raise ValueError("mean and std must have a number for each channel")
        return self

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        height, width, _ = self.image_shape
        return self.model.grid(height, width)

    @property
    def num_patches(self) -> int:
        """N."""
        return math.prod(self.grid)

    @property
    def num_tokens(self) -> int:
        """T."""
        return self.model.num_tokens(self.num_patches)


def save_weights(path: str | Path, params: hk.Params, info: WeightsInfo) -> None:
    """Write float32 parameters and their description; the same input gives the same bytes."""
    tensors = {name: np.asarray(value) for name, value in _flat(params).items()}
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
    if not path.is_file():
        found = "no file" if path.exists() else "not there"
        raise UserError(f"{path} is {found}; make it with: dvc repro train")
    try:
        _check_header(path)
        with safe_open(path, "np") as file:
            info = WeightsInfo.model_validate_json((file.metadata() or {}).get(METADATA_KEY, "{}"))
            _check_belongs(path, info, settings, dataset)
            names = sorted(file.keys())
            _check_shapes(path, info, {name: _shape(file.get_slice(name)) for name in names})
            tensors = {name: file.get_tensor(name) for name in names}
    except ValidationError as error:
        problem = f"no valid {METADATA_KEY} in its metadata: {_explain(error)}"
    except (OSError, SafetensorError, TypeError) as error:
        problem = in_one_line(error)
    else:
        _check_finite(path, tensors)
        return _nested(tensors), info
    raise UserError(f"{path} is not a weights file of this project ({problem}); {REMEDY}")


def _check_header(path: Path) -> None:
    """The header is taken into memory as a whole, so its length is looked at before."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > MAX_HEADER:
        raise OSError(f"its header claims {length:,} bytes")


def _explain(error: ValidationError) -> str:
    """The first problem of a description, in a few words."""
    problem = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in problem["loc"])
    match problem["type"]:
        case "missing":
            return f"{key} is missing"
        case "extra_forbidden":
            return f"{shorten(key)} is unknown"
        case _ if key == "version":
            return f"version {shorten(problem['input'])} there, {VERSION} here"
        case _ if key:
            return f"{key} is {shorten(problem['input'])}"
        case _:
            return shorten(problem["msg"], 200)


def _check_belongs(
    path: Path, info: WeightsInfo, settings: ModelSettings, dataset: Dataset
) -> None:
    wanted: dict[str, Any] = {f"model.{k}": v for k, v in settings.model_dump().items()}
    found: dict[str, Any] = {f"model.{k}": v for k, v in info.model.model_dump().items()}
    wanted |= {
        "data": dataset.name,
        "source": dataset.source,
        "classes": list(dataset.class_names),
        "image shape": list(dataset.image_shape),
    }
    found |= {
        "data": info.data,
        "source": info.source,
        "classes": info.class_names,
        "image shape": info.image_shape,
    }
    differ = [
        f"{key} {shorten(found[key], 200)} there, {shorten(wanted[key], 200)} here"
        for key in wanted
        if found[key] != wanted[key]
    ]
    if differ:
        raise UserError(
            f"{path} was trained with other settings or data than params.yaml and the data set "
            f"name: {'; '.join(differ)}; train anew with: dvc repro"
        )


def _shape(tensor: Any) -> str:
    """Type and shape of a tensor that is not read yet."""
    code = tensor.get_dtype()
    return f"{DTYPES.get(code, code)} {list(tensor.get_shape())}"


def _check_shapes(path: Path, info: WeightsInfo, found: dict[str, str]) -> None:
    shapes = parameter_shapes(make_model(info.model, len(info.class_names)), info.image_shape)
    wanted = {name: f"{x.dtype} {list(x.shape)}" for name, x in _flat(shapes).items()}
    for name in sorted(wanted.keys() | found.keys()):
        if found.get(name) != wanted.get(name):
            raise UserError(
                f"{path}: tensor {shorten(name)} is {found.get(name, 'missing')}, its own settings "
                f"want {wanted.get(name, 'none')}; {REMEDY}"
            )


def _check_finite(path: Path, tensors: dict[str, np.ndarray]) -> None:
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise UserError(f"{path}: tensor {name!r} has numbers that are not finite; {REMEDY}")


def _flat(params: hk.Params) -> dict[str, Any]:
    return {
        f"{module}/{name}": value
        for module, leaves in params.items()
        for name, value in leaves.items()
    }


def _nested(tensors: dict[str, np.ndarray]) -> hk.Params:
    params: dict[str, dict[str, np.ndarray]] = {}
    for path, value in sorted(tensors.items()):
        module, name = path.rsplit("/", 1)
        params.setdefault(module, {})[name] = value
    return params
