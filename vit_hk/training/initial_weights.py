"""The first weights of a training that starts from a weights file, adapted to its images."""

import haiku as hk
import jax
import numpy as np

from vit_hk.data.dataset import Dataset
from vit_hk.params import Config
from vit_hk.training.starting_point import (
    REMEDY,
    check_can_start,
    describe_start,
    find_file,
    has_same_classes,
)
from vit_hk.weights import read_weights
from vit_hk.weights_metadata import WeightsInfo

Grid = tuple[int, int]  # rows and columns of patches


def load_initial_weights(config: Config, dataset: Dataset) -> hk.Params | None:
    """Return the weights of the file `train.init_from` for this data set, or None without a file.

    It prints a line that says what is adapted.

    Raises:
      UserError: the file is missing or damaged, or holds another model; see `check_can_start`.
    """
    if not config.train.starts_from_file:
        return None
    path = find_file(config)
    weights = read_weights(path, REMEDY)
    check_can_start(path, weights.info, config, dataset)
    print(describe_start(path, weights.info, dataset), flush=True)
    return adapt_weights(weights.params, weights.info, dataset)


def adapt_weights(weights: hk.Params, info: WeightsInfo, dataset: Dataset) -> hk.Params:
    """Return weights for other images and classes than those they were trained on.

    Positions are resampled to another grid of patches, the filters of the patches are adapted to
    another number of channels, and with other class names the head is made anew. All else is kept.

    Args:
      weights: the parameters, NumPy float32.
      info: their metadata.
      dataset: the new data set.
    """
    adapted = {module: dict(leaves) for module, leaves in weights.items()}
    if info.model.position == "learned":
        adapted["vit"]["position"] = resample_positions(
            adapted["vit"]["position"], info.grid, info.model.grid(dataset.image_shape)
        )
    first = adapted[f"vit/patches/{'linear' if info.model.stem == 'linear' else 'conv_0'}"]
    first["w"] = adapt_channels(first["w"], info.image_shape[2], dataset.image_shape[2])
    if not has_same_classes(info, dataset):
        # Zeros, as in a new model (model/vit.py).
        width, num_classes = info.model.hidden_size, dataset.num_classes
        adapted["vit/head"] = {
            "w": np.zeros((width, num_classes), np.float32),
            "b": np.zeros(num_classes, np.float32),
        }
    return adapted


def resample_positions(position: np.ndarray, old: Grid, new: Grid) -> np.ndarray:
    """Resample learned positions bilinearly to another grid of patches (arXiv 2010.11929, 3.2).

    A smaller grid averages over the patches that it replaces (antialiasing). The position of a
    class token, which comes first, is kept.

    Args:
      position: float32 [positions, D], those of patches row by row.
      old: the grid of `position`.
      new: the grid of the result.
    """
    if old == new:
        return position
    width = position.shape[1]
    first_patch = len(position) - old[0] * old[1]
    patches = position[first_patch:].reshape(*old, width)
    resampled = np.asarray(jax.image.resize(patches, (*new, width), "bilinear", antialias=True))
    return np.concatenate([position[:first_patch], resampled.reshape(-1, width)])


def adapt_channels(kernels: np.ndarray, old: int, new: int) -> np.ndarray:
    """Adapt the filters of the patches to another number of channels, where one of both is 1.

    An image with equal channels has the same patch tokens as the image of one channel.

    Args:
      kernels: float32 [pixels * old, outputs], where channels vary faster than pixels.
      old: number of channels of the kernels.
      new: number of channels of the result.
    """
    if old == new:
        return kernels
    outputs = kernels.shape[1]
    total = kernels.reshape(-1, old, outputs).sum(axis=1, keepdims=True)
    return (np.repeat(total, new, axis=1) / np.float32(new)).reshape(-1, outputs)
