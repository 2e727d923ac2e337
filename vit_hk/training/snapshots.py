"""How attention forms: what the classified token looks at, after some epochs of training."""

from typing import NamedTuple

import haiku as hk
import jax
import numpy as np

from vit_hk.evaluation import softmax
from vit_hk.explain.patch_attention import patch_attention
from vit_hk.inference import run_model
from vit_hk.model.vit import make_model
from vit_hk.params import ModelSettings
from vit_hk.training.data import TrainingData

MOST_IMAGES = 6


class Snapshot(NamedTuple):
    """What a model at one point of its training makes of the same images."""

    epoch: int
    attention: np.ndarray  # float32 [L, B, H, N], of the classified token to the patches
    probabilities: np.ndarray  # float32 [B, C]


class SnapshotTaker:
    """Keeps a snapshot of the same few validation images after each epoch that is asked for."""

    def __init__(
        self, settings: ModelSettings, data: TrainingData, num_classes: int, epochs: set[int]
    ) -> None:
        """Choose the first validation image of each class, up to MOST_IMAGES.

        Args:
          settings: of the model.
          data: holds the validation images and the scale of the pixels.
          num_classes: C.
          epochs: after which to take a snapshot.
        """
        chosen = np.unique(data.y_validation, return_index=True)[1][:MOST_IMAGES]
        self.images, self.labels = data.x_validation[chosen], data.y_validation[chosen]
        self.snapshots: list[Snapshot] = []
        self._epochs, self._pool = epochs, settings.pool
        _, height, width, _ = self.images.shape
        self._num_patches = (height // settings.patch_size) * (width // settings.patch_size)
        model = make_model(settings, num_classes)
        self._run = jax.jit(lambda p: run_model(model, p, self.images, data.mean, data.std))

    def end_of_epoch(self, epoch: int, weights: hk.Params) -> None:
        """Take a snapshot, if one is asked for after this epoch."""
        if epoch not in self._epochs:
            return
        output = self._run(weights)
        attention = patch_attention(np.asarray(output.attention), self._num_patches, self._pool)
        probabilities = softmax(np.asarray(output.logits)).astype(np.float32)
        self.snapshots.append(Snapshot(epoch, attention, probabilities))
