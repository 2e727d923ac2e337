"""Data sets of any image size, and weights files as `train` writes them for such data sets."""

from pathlib import Path

import jax
import numpy as np

from stages.train import describe_weights
from vit_hk.data.dataset import Dataset
from vit_hk.model.vit import make_model, parameter_shapes
from vit_hk.params import Config
from vit_hk.training.data import prepare_data
from vit_hk.weights import save_weights
from vit_hk.weights_metadata import WeightsInfo

CLASSES = ("a", "b", "c")


def dataset_of(
    shape: tuple[int, int, int], class_names: tuple[str, ...] = CLASSES, name: str = "shapes"
) -> Dataset:
    """Return a data set of 24 random images of height, width and channels."""
    images = np.random.default_rng(1).integers(0, 256, (24, *shape), dtype=np.uint8)
    labels = np.arange(24, dtype=np.int32) % len(class_names)
    return Dataset(images, labels, images, labels, name, "made for a test", class_names)


def info_of(config: Config, dataset: Dataset) -> WeightsInfo:
    return describe_weights(config, dataset, prepare_data(dataset, config))


def random_weights(config: Config, dataset: Dataset) -> dict[str, dict[str, np.ndarray]]:
    """Return random parameters, none of them zero, of the model for a data set."""
    model = make_model(config.model, dataset.num_classes)
    random = np.random.default_rng(2)
    return jax.tree.map(
        lambda leaf: random.normal(0.0, 0.3, leaf.shape).astype(np.float32),
        parameter_shapes(model, dataset.image_shape),
    )


def write_weights(path: Path, config: Config, dataset: Dataset) -> dict[str, dict[str, np.ndarray]]:
    """Write random weights and their metadata, and return the weights."""
    weights = random_weights(config, dataset)
    save_weights(path, weights, info_of(config, dataset))
    return weights
