"""Tables that pair the arrays of this model with the tensors of another library's format.

A format is a list of fields. The same list serves both directions, so they cannot differ.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import haiku as hk
import jax
import numpy as np

from vit_hk.errors import UserError, shorten
from vit_hk.formats.files import REMEDY, TensorFile
from vit_hk.model.vit import make_model, parameter_shapes
from vit_hk.params import ImageShape, ModelSettings


class Layout(NamedTuple):
    """How an array of this model is laid out in a format, as one tensor or several."""

    write: Callable[[Any], tuple[Any, ...]]  # an array here -> tensors there
    read: Callable[..., np.ndarray]  # tensors there -> an array here


class Field(NamedTuple):
    """One array of this model, and its tensors in a format."""

    module: str  # for example "vit/block_0/attention/qkv"
    name: str  # for example "w"
    keys: tuple[str, ...]  # names of the tensors
    layout: Layout


AS_IS = Layout(lambda array: (array,), lambda tensor: tensor)
TRANSPOSED = Layout(lambda array: (array.T,), lambda tensor: tensor.T)
LEADING_AXIS = Layout(lambda array: (array[None],), lambda tensor: tensor[0])  # [1, …]


def write_tensors(fields: Iterable[Field], params: hk.Params) -> dict[str, np.ndarray]:
    """Return the tensors of a format, float32, from the parameters of the model."""
    tensors = {}
    for field in fields:
        parts = field.layout.write(np.asarray(params[field.module][field.name]))
        for key, part in zip(field.keys, parts, strict=True):
            tensors[key] = np.ascontiguousarray(part)
    return tensors


def read_params(
    fields: list[Field],
    settings: ModelSettings,
    image_shape: ImageShape,
    num_classes: int,
    file: TensorFile,
) -> hk.Params:
    """Read the parameters of a model from a file of another library.

    Args:
      fields: the format.
      settings: the architecture.
      image_shape: height, width and channels.
      num_classes: C.
      file: the tensors; their names and shapes are checked before any is read.

    Raises:
      UserError: a tensor is missing, unknown, of another shape or not finite.
    """
    shapes = parameter_shapes(make_model(settings, num_classes), image_shape)
    _check_shapes(file, _tensor_shapes(fields, shapes))
    params: dict[str, dict[str, np.ndarray]] = {}
    for field in fields:
        tensors = [file.load(key) for key in field.keys]
        for key, tensor in zip(field.keys, tensors, strict=True):
            if not np.isfinite(tensor).all():
                raise UserError(
                    f"{file.path}: tensor {key!r} has numbers that are not finite; {REMEDY}"
                )
        array = np.ascontiguousarray(field.layout.read(*tensors), np.float32)
        params.setdefault(field.module, {})[field.name] = array
    return params


def _tensor_shapes(fields: list[Field], shapes: hk.Params) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor of a format, without taking memory for it."""
    expected: dict[str, tuple[int, ...]] = {}
    for field in fields:
        parts = jax.eval_shape(field.layout.write, shapes[field.module][field.name])
        expected |= {key: part.shape for key, part in zip(field.keys, parts, strict=True)}
    return expected


def _check_shapes(file: TensorFile, expected: dict[str, tuple[int, ...]]) -> None:
    unknown = sorted(file.shapes.keys() - expected.keys())
    missing = sorted(expected.keys() - file.shapes.keys())
    if unknown:
        raise UserError(
            f"{file.path}: tensor {_some(unknown)} has no place in this model, which is a plain "
            "Vision Transformer; its weights cannot be imported"
        )
    if missing:
        raise UserError(f"{file.path}: tensor {_some(missing)} is missing; it is not complete")
    for key, shape in expected.items():
        if file.shapes[key] != shape:
            raise UserError(
                f"{file.path}: tensor {shorten(key)} is {list(file.shapes[key])}, its other "
                "tensors, or the sizes in its configuration where it has one, require "
                f"{list(shape)}; correct them or download it again"
            )


def _some(names: list[str]) -> str:
    more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
    return f"{shorten(names[0])}{more}"
