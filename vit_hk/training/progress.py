"""How far a training has come: all that it needs to go on."""

import dataclasses
from typing import NamedTuple

import numpy as np

from vit_hk.training.step import TrainState


@dataclasses.dataclass(frozen=True)
class Epoch:
    """A row of history.csv; losses in nats, the training loss with label smoothing."""

    epoch: int
    train_loss: float
    validation_loss: float
    validation_accuracy: float
    learning_rate: float  # of the epoch's last step


class Snapshot(NamedTuple):
    """What a model at one point of its training makes of the same images."""

    epoch: int
    attention: np.ndarray  # float32 [L, B, H, N], of the classified token to the patches
    probabilities: np.ndarray  # float32 [B, C]


class Progress(NamedTuple):
    """A training after some of its steps."""

    state: TrainState
    history: list[Epoch]  # of the epochs that are done
    snapshots: list[Snapshot]
    seconds: float  # spent on it so far, in this process and those before
