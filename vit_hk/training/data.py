"""The images that training reads: their split, their normalization, and checks of the settings."""

import dataclasses

import numpy as np

from vit_hk.data.dataset import Dataset
from vit_hk.data.normalization import Normalization
from vit_hk.data.splits import stratified_split
from vit_hk.errors import UserError
from vit_hk.params import Params


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """Training and validation images, and the normalization of the training images.

    Attributes:
      x_train, x_validation: uint8 [N, height, width, channels].
      y_train, y_validation: int32 [N].
      normalization: mean and standard deviation of each channel of x_train.
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_validation: np.ndarray
    y_validation: np.ndarray
    normalization: Normalization


def prepare_data(dataset: Dataset, params: Params) -> TrainingData:
    """Split the training images and check that the settings fit them, before JAX starts.

    Raises:
      UserError: the patch size does not divide the images, the shift is larger than they
        are, or the batch is larger than the split.
    """
    height, width, _ = dataset.image_shape
    patch, shift = params.model.patch_size, params.train.augment.shift
    if height % patch or width % patch:
        raise UserError(
            f"params.yaml: model.patch_size is {patch}, images of {dataset.name} are {height} x "
            f"{width} pixels; allowed: {_common_divisors(height, width)}"
        )
    if shift >= min(height, width):
        raise UserError(
            f"params.yaml: train.augment.shift is {shift}, images are {height} x {width} pixels; "
            f"allowed: 0 to {min(height, width) - 1}"
        )
    kept, held_out = stratified_split(
        dataset.y_train, params.train.validation_fraction, params.seed
    )
    if not len(kept):
        raise UserError(
            f"params.yaml: train.validation_fraction is {params.train.validation_fraction:g} and "
            "leaves no image to train on; choose a smaller one"
        )
    if params.train.batch_size > len(kept):
        raise UserError(
            f"params.yaml: train.batch_size is {params.train.batch_size}, the training split has "
            f"{len(kept):,} images; allowed: 1 to {len(kept)}"
        )
    x_train = dataset.x_train[kept]
    return TrainingData(
        x_train=x_train,
        y_train=dataset.y_train[kept],
        x_validation=dataset.x_train[held_out],
        y_validation=dataset.y_train[held_out],
        normalization=Normalization.from_images(x_train),
    )


def epoch_order(seed: int, epoch: int, count: int) -> np.ndarray:
    """Return the order of the images in an epoch, int32 [count], from seed and epoch alone.

    NumPy draws it, since on a CPU JAX takes fifty times as long.
    """
    return np.random.default_rng([seed, epoch]).permutation(count).astype(np.int32)


def _common_divisors(height: int, width: int) -> str:
    smaller = min(height, width)
    return ", ".join(str(n) for n in range(1, smaller + 1) if not (height % n or width % n))
