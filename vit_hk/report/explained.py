"""results/attention/attention.npz, checked against the settings and the data."""

import dataclasses
import math
from pathlib import Path

import numpy as np

from vit_hk.dataset import Dataset
from vit_hk.params import ModelSettings
from vit_hk.report.reading import read_arrays, readable


@dataclasses.dataclass(frozen=True)
class Explained:
    """Test images and where the model looks on them.

    Attributes:
      attention: [L, B, H, query T, key T]; each row sums to 1.
      indices: int [B], numbers of the images in the test set.
      images: uint8 [B, height, width, channels].
      labels: int [B].
      probabilities: [B, C].
      methods: M names.
      maps: [M, B, N], for the predicted class.
      maps_true: the same shape, for the true class.
    """

    attention: np.ndarray
    indices: np.ndarray
    images: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray
    methods: np.ndarray
    maps: np.ndarray
    maps_true: np.ndarray


def read_explained(path: Path, model: ModelSettings, dataset: Dataset) -> Explained:
    """Read and check the arrays.

    Raises:
      UserError: the file is missing or damaged, or was made with other settings or data.
    """
    names = [field.name for field in dataclasses.fields(Explained)]
    explained = Explained(**read_arrays(path, "attention", names))
    with readable(path, "attention"):
        _check(explained, model, dataset)
    return explained


def _check(explained: Explained, model: ModelSettings, dataset: Dataset) -> None:
    height, width, _ = dataset.image_shape
    patches = math.prod(model.grid(height, width))
    tokens = model.num_tokens(patches)
    number, methods = len(explained.indices), len(explained.methods)
    wanted = {
        "attention": (model.num_layers, number, model.num_heads, tokens, tokens),
        "indices": (number,),
        "images": (number, *dataset.image_shape),
        "labels": (number,),
        "probabilities": (number, dataset.num_classes),
        "maps": (methods, number, patches),
        "maps_true": (methods, number, patches),
    }
    for name, shape in wanted.items():
        found = getattr(explained, name)
        if found.shape != shape or found.dtype.kind not in "iuf":
            raise ValueError(
                f"{name} is {found.dtype} {list(found.shape)}, settings and data want {list(shape)}"
            )
    inside = (explained.indices >= 0) & (explained.indices < len(dataset.x_test))
    if not inside.all() or (dataset.x_test[explained.indices] != explained.images).any():
        raise ValueError("its images are not those of the data set")
