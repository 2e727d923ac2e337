"""The images that training reads: their split, their normalization and their order."""

import dataclasses

import numpy as np

from vit_hk.data.compatibility import check_compatible
from vit_hk.data.dataset import Dataset
from vit_hk.data.image_rows import ImageArray, ImageRows
from vit_hk.data.normalization import Normalization
from vit_hk.data.splits import stratified_split
from vit_hk.params import Config


@dataclasses.dataclass(frozen=True)
class TrainingData:
    """Training and validation images, and the normalization of the training images.

    Attributes:
      x_train, x_validation: uint8 [images, height, width, channels], which `prepare_data` leaves
        where they are: in a mapped file that may be larger than memory.
      y_train, y_validation: int32 [images].
      normalization: mean and standard deviation of each channel of x_train.
    """

    x_train: ImageArray
    y_train: np.ndarray
    x_validation: ImageArray
    y_validation: np.ndarray
    normalization: Normalization


def prepare_data(dataset: Dataset, config: Config) -> TrainingData:
    """Split the training images, after checking that the settings fit the data set.

    Raises:
      UserError: they do not; see `check_compatible`.
    """
    check_compatible(config, dataset)
    kept, held_out = stratified_split(
        dataset.y_train, config.train.validation_fraction, config.seed
    )
    x_train = ImageRows(dataset.x_train, kept)
    return TrainingData(
        x_train=x_train,
        y_train=dataset.y_train[kept],
        x_validation=ImageRows(dataset.x_train, held_out),
        y_validation=dataset.y_train[held_out],
        normalization=Normalization.from_images(x_train),
    )


def epoch_order(seed: int, epoch: int, count: int) -> np.ndarray:
    """Return the order of the images in an epoch, int32 [count], from seed and epoch alone.

    NumPy draws it, since on a CPU JAX takes fifty times as long.
    """
    return np.random.default_rng([seed, epoch]).permutation(count).astype(np.int32)
