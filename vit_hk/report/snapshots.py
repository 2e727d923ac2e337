"""The attention that the stage `train` recorded during training, checked against the data."""

import dataclasses
from pathlib import Path

import numpy as np

from vit_hk.data.dataset import Dataset
from vit_hk.data.image_rows import ImageRows, chunks
from vit_hk.params import ModelSettings
from vit_hk.report.reading import check_array, read_arrays, user_error_if_damaged


@dataclasses.dataclass(frozen=True)
class Snapshots:
    """Validation images with the attention and the predictions of the model after several epochs.

    Attributes:
      attention: [snapshots, L, B, H, N], from the pooled token to each patch.
      probabilities: [snapshots, B, C].
      epochs: int [snapshots], rising.
      images: uint8 [B, height, width, channels].
      labels: int [B], true classes.
    """

    attention: np.ndarray
    probabilities: np.ndarray
    epochs: np.ndarray
    images: np.ndarray
    labels: np.ndarray


def read_snapshots(path: Path, model: ModelSettings, dataset: Dataset) -> Snapshots:
    """Read the snapshots and check them against the settings and the data.

    Raises:
      UserError: the file is missing or damaged, or was made with other settings or data.
    """
    names = [field.name for field in dataclasses.fields(Snapshots)]
    snapshots = Snapshots(**read_arrays(path, "train", names))
    with user_error_if_damaged(path, "train"):
        _check(snapshots, model, dataset)
    return snapshots


def _check(snapshots: Snapshots, model: ModelSettings, dataset: Dataset) -> None:
    count, steps = snapshots.labels.size, snapshots.epochs.size
    patches = model.num_patches(dataset.image_shape)
    expected = {
        "attention": ("f", (steps, model.num_layers, count, model.num_heads, patches)),
        "probabilities": ("f", (steps, count, dataset.num_classes)),
        "epochs": ("iu", (steps,)),
        "images": ("u", (count, *dataset.image_shape)),
        "labels": ("iu", (count,)),
    }
    for name, (kinds, shape) in expected.items():
        check_array(name, getattr(snapshots, name), kinds, shape)
    if not count or not steps:
        raise ValueError("no snapshots")
    for image, label in zip(snapshots.images, snapshots.labels, strict=True):
        same_class = ImageRows(dataset.x_train, np.flatnonzero(dataset.y_train == label))
        if not any((chunk == image).all(axis=(1, 2, 3)).any() for chunk in chunks(same_class)):
            raise ValueError("its images are not those of the data set")
