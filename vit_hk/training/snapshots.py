"""How attention forms: the same few images at several points of a training."""

import math

import haiku as hk
import jax
import numpy as np

from vit_hk.evaluation import softmax
from vit_hk.explain.patch_attention import patch_attention
from vit_hk.inference import run_model
from vit_hk.params import ModelSettings
from vit_hk.training.data import TrainingData
from vit_hk.training.progress import Snapshot

MOST_IMAGES = 6


def snapshot_images(data: TrainingData) -> np.ndarray:
    """Int [B]: the first validation image of each class, up to MOST_IMAGES."""
    return np.unique(data.y_validation, return_index=True)[1][:MOST_IMAGES]


class SnapshotTaker:
    """Takes snapshots of the images that `snapshot_images` names."""

    def __init__(self, model: hk.Transformed, settings: ModelSettings, data: TrainingData) -> None:
        """Prepare for a model of these settings."""
        images = data.x_validation[snapshot_images(data)]
        _, height, width, _ = images.shape
        self._pool = settings.pool
        self._num_patches = math.prod(settings.grid(height, width))
        self._run = jax.jit(lambda p: run_model(model, p, images, data.mean, data.std))

    def take(self, epoch: int, weights: hk.Params) -> Snapshot:
        """What the model looks at and predicts after this epoch."""
        output = self._run(weights)
        attention = patch_attention(np.asarray(output.attention), self._num_patches, self._pool)
        probabilities = softmax(np.asarray(output.logits)).astype(np.float32)
        return Snapshot(epoch, attention, probabilities)
