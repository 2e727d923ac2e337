"""The training loop: epochs, validation, history, progress."""

import dataclasses
import time
from collections.abc import Callable

import haiku as hk
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from tqdm import tqdm

from vit_hk.evaluation import summarize
from vit_hk.inference import make_predictor
from vit_hk.model.vit import make_model
from vit_hk.params import Params
from vit_hk.training.data import TrainingData, steps_and_epochs
from vit_hk.training.optimizer import decay_mask, learning_rate_schedule, make_optimizer
from vit_hk.training.step import Split, TrainState, init_state, make_run_steps

CALLS_PER_EPOCH = 20  # how often the progress bar moves
EndOfEpoch = Callable[[int, hk.Params], None]


@dataclasses.dataclass(frozen=True)
class Epoch:
    """A row of history.csv; losses in nats, the training loss with label smoothing."""

    epoch: int
    train_loss: float
    validation_loss: float
    validation_accuracy: float
    learning_rate: float  # of the epoch's last step


@dataclasses.dataclass(frozen=True)
class Timing:
    """How long training took, in seconds; images_per_second leaves compilation out."""

    compile_seconds: float
    train_seconds: float
    images_per_second: float


@dataclasses.dataclass(frozen=True)
class Trained:
    """The final weights (the moving average where one is kept) and how they came about."""

    params: hk.Params
    history: list[Epoch]
    timing: Timing


class NotFiniteError(Exception):
    """A loss, gradient or new weight was not finite; the update was not applied.

    Attributes:
      step: number of the failing step, from 1.
      learning_rate: of that step.
      params: the weights before it.
    """

    def __init__(self, step: int, learning_rate: float, params: hk.Params) -> None:
        """Remember where it happened and the last good weights."""
        super().__init__(f"loss or gradient not finite at step {step}")
        self.step, self.learning_rate, self.params = step, learning_rate, params


def init_params(params: Params, image_shape: tuple[int, int, int], num_classes: int) -> hk.Params:
    """Random weights that follow from the seed."""
    model = make_model(params.model, num_classes)
    images = jnp.zeros((1, *image_shape))
    init = jax.jit(lambda key: model.init(key, images, is_training=False))
    return init(jax.random.key(params.seed))


def train(
    params: Params, data: TrainingData, num_classes: int, end_of_epoch: EndOfEpoch | None = None
) -> Trained:
    """Train from scratch for all epochs of `params.train`.

    A small data set gets more epochs than that, until `params.train.min_steps`. Prints a
    line an epoch, and on a terminal a progress bar.

    Args:
      params: all settings.
      data: images on the host.
      num_classes: C.
      end_of_epoch: called with the number of each epoch and the weights after it, those that
        validation sees.

    Raises:
      NotFiniteError: a loss, a gradient or a new weight was not finite.
    """
    model = make_model(params.model, num_classes)
    initial = init_params(params, data.x_train.shape[1:], num_classes)
    flat, unravel = ravel_pytree(initial)
    current_params = jax.jit(lambda state: unravel(_weights(state)))
    batch = params.train.batch_size
    steps, epochs = steps_and_epochs(params.train, len(data.x_train))
    schedule = learning_rate_schedule(params.train, epochs, steps)
    optimizer = make_optimizer(params.train, schedule, decay_mask(initial))
    state = jax.jit(lambda flat: init_state(flat, optimizer, params.train))(flat)
    split = Split(jnp.asarray(data.x_train), jnp.asarray(data.y_train))
    predict = make_predictor(model, data.mean, data.std, batch)

    started = time.perf_counter()
    steps_loop = make_run_steps(
        model, unravel, optimizer, params.train, steps, data.mean, data.std, params.seed
    )
    run_steps = steps_loop.lower(state, split, jnp.int32(0)).compile()
    predict(initial, data.x_validation[:1])
    compiled = time.perf_counter()

    history: list[Epoch] = []
    stepping = 0.0
    bar = tqdm(total=epochs * steps * batch, unit=" images", unit_scale=True, disable=None)
    for epoch in range(1, epochs + 1):
        bar.set_description(f"epoch {epoch}/{epochs}")
        began = time.perf_counter()
        for call in range(1, CALLS_PER_EPOCH + 1):
            last = (epoch - 1) * steps + steps * call // CALLS_PER_EPOCH
            before = int(state.step)
            state, finite = run_steps(state, split, jnp.int32(last))
            if not finite:
                bar.close()
                step = int(state.step)
                raise NotFiniteError(step + 1, float(schedule(step)), current_params(state))
            bar.update((last - before) * batch)
        stepping += time.perf_counter() - began
        weights = current_params(state)
        validation = summarize(predict(weights, data.x_validation), data.y_validation)
        row = Epoch(
            epoch=epoch,
            train_loss=float(state.epoch_loss) / steps,
            validation_loss=validation["loss"],
            validation_accuracy=validation["accuracy"],
            learning_rate=float(schedule(epoch * steps - 1)),
        )
        history.append(row)
        if end_of_epoch:
            end_of_epoch(epoch, weights)
        rate = epoch * steps * batch / stepping
        tqdm.write(
            f"epoch {epoch:3d}/{epochs}  loss {row.train_loss:.4f}  validation loss "
            f"{row.validation_loss:.4f}  accuracy {row.validation_accuracy:.4f}  "
            f"{rate:,.0f} images/s"
        )
        bar.set_postfix(loss=f"{row.train_loss:.4f}", accuracy=f"{row.validation_accuracy:.4f}")
    bar.close()
    timing = Timing(compiled - started, time.perf_counter() - compiled, rate)
    return Trained(weights, history, timing)


def _weights(state: TrainState) -> jax.Array:
    return state.params if state.ema is None else state.ema
