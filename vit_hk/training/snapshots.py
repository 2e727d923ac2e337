"""Snapshots of the attention on the same few images, at several points of a training."""

import haiku as hk
import jax
import numpy as np

from vit_hk.explain.patch_attention_model import make_patch_attention_model
from vit_hk.inference import attention_chunks, run_model
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

    def __init__(self, settings: ModelSettings, num_classes: int, data: TrainingData) -> None:
        """Prepare for a model with these settings; it is compiled at the first snapshot."""
        self._images = data.x_validation[snapshot_indices(data)]
        self._settings = settings
        normalization = data.normalization
        model = make_patch_attention_model(settings, num_classes, self._images.shape[1:])
        self._run = jax.jit(lambda params, images: run_model(model, params, images, normalization))

    def take(self, epoch: int, weights: hk.Params) -> Snapshot:
        """Return the attention and the predictions of these weights, after this epoch.

        The images are processed in chunks, and the attention of all tokens is in memory for one
        layer at a time: a training that fits into memory has room for its snapshots.
        """
        attention, logits = [], []
        for chunk in attention_chunks(len(self._images), self._settings, self._images.shape[1:]):
            output = self._run(weights, self._images[chunk])
            attention.append(np.asarray(output.attention))
            logits.append(np.asarray(output.logits))
        probabilities = softmax(np.concatenate(logits)).astype(np.float32)
        return Snapshot(epoch, np.concatenate(attention, axis=1), probabilities)
