"""The progress of a training, which a checkpoint holds."""

import dataclasses
from typing import NamedTuple

import numpy as np

from vit_hk.training.train_step import TrainState


@dataclasses.dataclass(frozen=True)
class Epoch:
    """A row of history.csv; losses are in nats."""

    epoch: int
    train_loss: float  # of augmented images and smoothed, mixed or weighted labels, with dropout
    validation_loss: float
    validation_accuracy: float
    learning_rate: float  # of the epoch's last step


class Snapshot(NamedTuple):
    """Attention and predictions of a model at one point of its training, on fixed images."""

    epoch: int
    attention: np.ndarray  # float32 [L, B, H, N], from the pooled token to the patches
    probabilities: np.ndarray  # float32 [B, C]


class Progress(NamedTuple):
    """The state, history and snapshots of a training after some of its steps."""

    state: TrainState
    history: list[Epoch]  # a row per finished epoch
    snapshots: list[Snapshot]
    seconds: float  # of training so far, in this process and earlier ones
