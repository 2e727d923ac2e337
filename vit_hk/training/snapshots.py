"""Snapshots of the attention on the same few images, at several points of a training."""

import haiku as hk
import jax
import numpy as np

from vit_hk.explain.patch_attention import patch_attention
from vit_hk.inference import run_model
from vit_hk.metrics import softmax
from vit_hk.params import ModelSettings
from vit_hk.training.data import TrainingData
from vit_hk.training.progress import Snapshot

MAX_IMAGES = 6  # the figure has a row per image, and fits on a screen


def snapshot_indices(data: TrainingData) -> np.ndarray:
    """Return the index of the first validation image of each class, int [at most MAX_IMAGES]."""
    return np.unique(data.y_validation, return_index=True)[1][:MAX_IMAGES]


class SnapshotTaker:
    """A model and the validation images of `snapshot_indices`, of which it takes snapshots."""

    def __init__(self, model: hk.Transformed, settings: ModelSettings, data: TrainingData) -> None:
        """Prepare for a model with these settings; it is compiled at the first snapshot."""
        images = data.x_validation[snapshot_indices(data)]
        self._pool = settings.pool
        self._num_patches = settings.num_patches(images.shape[1:])
        self._run = jax.jit(lambda params: run_model(model, params, images, data.normalization))

    def take(self, epoch: int, weights: hk.Params) -> Snapshot:
        """Return the attention and the predictions of these weights, after this epoch."""
        output = self._run(weights)
        attention = patch_attention(np.asarray(output.attention), self._num_patches, self._pool)
        probabilities = softmax(np.asarray(output.logits)).astype(np.float32)
        return Snapshot(epoch, attention, probabilities)
