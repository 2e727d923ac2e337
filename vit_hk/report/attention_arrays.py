"""The arrays of the stage `attention`, checked against the settings and the data."""

import dataclasses
from pathlib import Path

from vit_hk.data.dataset import Dataset
from vit_hk.errors import shorten
from vit_hk.explain.attention_arrays import AttentionArrays
from vit_hk.figures.faithfulness import STYLES
from vit_hk.params import ModelSettings
from vit_hk.report.reading import check_array, read_arrays, user_error_if_damaged


def read_attention_arrays(path: Path, model: ModelSettings, dataset: Dataset) -> AttentionArrays:
    """Read the arrays and check them against the settings and the data.

    Raises:
      UserError: the file is missing or damaged, or was made with other settings or data.
    """
    names = [field.name for field in dataclasses.fields(AttentionArrays)]
    arrays = AttentionArrays(**read_arrays(path, "attention", names))
    with user_error_if_damaged(path, "attention"):
        _check(arrays, model, dataset)
    return arrays


def _check(arrays: AttentionArrays, model: ModelSettings, dataset: Dataset) -> None:
    patches = model.num_patches(dataset.image_shape)
    tokens = model.num_tokens(dataset.image_shape)
    count, methods = arrays.indices.size, arrays.methods.size
    expected = {
        "attention": ("f", (model.num_layers, count, model.num_heads, tokens, tokens)),
        "indices": ("iu", (count,)),
        "images": ("u", (count, *dataset.image_shape)),
        "labels": ("iu", (count,)),
        "probabilities": ("f", (count, dataset.num_classes)),
        "methods": ("U", (methods,)),
        "maps": ("f", (methods, count, patches)),
        "maps_true": ("f", (methods, count, patches)),
    }
    for name, (kinds, shape) in expected.items():
        check_array(name, getattr(arrays, name), kinds, shape)
    if unknown := [method for method in arrays.methods.tolist() if method not in STYLES]:
        raise ValueError(f"its attribution method {shorten(unknown[0])} is unknown")
    indices = arrays.indices
    in_range = (indices >= 0) & (indices < len(dataset.x_test))
    if not in_range.all() or (dataset.x_test[indices] != arrays.images).any():
        raise ValueError("its images are not those of the data set")
    if (dataset.y_test[indices] != arrays.labels).any():
        raise ValueError("its labels are not those of the data set")
