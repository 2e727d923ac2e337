"""The training loop: epochs, validation, history, progress."""

import dataclasses
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from tqdm import tqdm

from vit_hk.division import divide_for_prediction, divide_for_step
from vit_hk.evaluation import summarize
from vit_hk.inference import make_predictor
from vit_hk.model.vit import make_model, parameter_shapes
from vit_hk.params import Params
from vit_hk.training.checkpoint import Checkpoints
from vit_hk.training.data import TrainingData
from vit_hk.training.optimizer import decay_mask, learning_rate_schedule, make_optimizer
from vit_hk.training.pieces import Split
from vit_hk.training.progress import Epoch, Progress, Snapshot
from vit_hk.training.snapshots import SnapshotTaker
from vit_hk.training.step import TrainState, epoch_order, init_state, make_run_steps

CALLS_PER_EPOCH = 20  # how often the progress bar moves, and a request to stop is heard


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
    snapshots: list[Snapshot]
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


class StoppedError(Exception):
    """The training was asked to stop, and did so after `step` of `steps`, its state saved."""

    def __init__(self, step: int, steps: int) -> None:
        """Remember how far it came."""
        super().__init__(f"stopped after step {step} of {steps}")
        self.step, self.steps = step, steps


def init_params(params: Params, image_shape: tuple[int, int, int], num_classes: int) -> hk.Params:
    """Random weights that follow from the seed."""
    model = make_model(params.model, num_classes)
    images = jnp.zeros((1, *image_shape))
    # It runs once, so that time spent on making it fast would be lost.
    init = jax.jit(
        lambda key: model.init(key, images, is_training=False),
        compiler_options={"xla_backend_optimization_level": 0},
    )
    return init(jax.random.key(params.seed))


def train(
    params: Params,
    data: TrainingData,
    num_classes: int,
    checkpoints: Checkpoints | None = None,
    stop_asked: Callable[[], bool] = lambda: False,
) -> Trained:
    """Train for all epochs of `params.train`, from scratch or from the newest checkpoint.

    Prints a line an epoch, and on a terminal a progress bar. In pieces or in one go, the weights
    and the history have the same bytes.

    Args:
      params: all settings.
      data: images on the host.
      num_classes: C.
      checkpoints: where to go on from, and where to save to after each epoch.
      stop_asked: is called some twenty times an epoch; True saves the state and stops.

    Raises:
      NotFiniteError: a loss, a gradient or a new weight was not finite.
      StoppedError: `stop_asked` said so.
      UserError: a checkpoint cannot be written, or none of those there can be read.
    """
    return _Training(params, data, num_classes, checkpoints, stop_asked).run()


class _Training:
    """The compiled parts of one training, and what it reads."""

    def __init__(
        self,
        params: Params,
        data: TrainingData,
        num_classes: int,
        checkpoints: Checkpoints | None,
        stop_asked: Callable[[], bool],
    ) -> None:
        self.settings, self.seed, self.data = params.train, params.seed, data
        self.checkpoints, self.stop_asked = checkpoints, stop_asked
        self.epochs = params.train.epochs
        # Of an epoch; the images that are left wait for another order.
        self.steps = len(data.x_train) // params.train.batch_size
        self.schedule = learning_rate_schedule(params.train, self.steps)
        model = make_model(params.model, num_classes, scan_layers=params.train.scan_layers)
        self.taker = SnapshotTaker(model, params.model, data)

        started = time.perf_counter()
        in_training = make_model(
            params.model, num_classes, params.train.precision, params.train.scan_layers,
            params.train.remat,
        )  # fmt: skip
        image_shape = data.x_train.shape[1:]
        num_patches = math.prod(params.model.grid(*image_shape[:2]))
        tokens = params.model.num_tokens(num_patches)
        division = divide_for_step(params.train.batch_size, tokens)
        in_prediction = divide_for_prediction(params.train.batch_size, tokens)
        self.predict = make_predictor(model, data.mean, data.std, in_prediction)

        def initial_weights() -> hk.Params:
            weights = init_params(params, image_shape, num_classes)
            self.predict(weights, data.x_validation[:1])  # compiles it
            return weights

        # Beside the loop's, since compiling this takes nearly as long; for the loop, the shapes do.
        with ThreadPoolExecutor(1) as beside:
            initial = beside.submit(initial_weights)
            self.like = parameter_shapes(model, image_shape)
            zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), self.like)
            flat, unravel = ravel_pytree(zeros)
            optimizer = make_optimizer(params.train, self.schedule, decay_mask(zeros), unravel)
            first_state = jax.jit(lambda flat: init_state(flat, optimizer, params.train))
            images_and_labels = data.x_train, data.y_train
            self.split = Split(*jax.device_put(images_and_labels, division.everywhere))
            steps_loop = make_run_steps(
                in_training, unravel, optimizer, params.train, self.steps, data.mean, data.std,
                params.seed, division,
            )  # fmt: skip
            state = jax.eval_shape(first_state, flat)
            order = epoch_order(params.seed, 0, len(data.x_train))
            self.run_steps = steps_loop.lower(state, self.split, order, jnp.int32(0)).compile()
        first = first_state(ravel_pytree(initial.result())[0])
        self.start = Progress(jax.device_put(first, division.everywhere), [], [], 0.0)
        self.compile_seconds = time.perf_counter() - started

    def run(self) -> Trained:
        self.began = time.perf_counter()
        self.stepped, self.stepping = 0, 0.0  # steps done here, and seconds spent on them
        progress = self.checkpoints.newest(self.start) if self.checkpoints else self.start
        first = int(progress.state.step)
        if first:
            tqdm.write(f"goes on after step {first:,} of {self.steps * self.epochs:,}")
        images = self.settings.batch_size
        self.bar = tqdm(
            total=self.epochs * self.steps * images, initial=first * images, unit=" images",
            unit_scale=True, disable=None,
        )  # fmt: skip
        with self.bar:
            for epoch in range(len(progress.history) + 1, self.epochs + 1):
                self.bar.set_description(f"epoch {epoch}/{self.epochs}")
                state = self.run_epoch(progress)
                progress = self.finish_epoch(progress._replace(state=state), epoch)
        timing = Timing(
            self.compile_seconds, self.seconds(progress), self.rate() if self.stepped else 0.0
        )
        return Trained(
            self.weights_of(progress.state), progress.history, progress.snapshots, timing
        )

    def run_epoch(self, progress: Progress) -> TrainState:
        """Take the steps that are left of an epoch."""
        state, done = progress.state, int(progress.state.step)
        end = (len(progress.history) + 1) * self.steps
        order = epoch_order(self.seed, len(progress.history), len(self.data.x_train))
        for last in _ends_of_calls(done, self.steps, self.settings.checkpoint_steps):
            began = time.perf_counter()
            state, finite = self.run_steps(state, self.split, order, jnp.int32(last))
            if not finite:
                step = int(state.step)
                raise NotFiniteError(step + 1, float(self.schedule(step)), self.weights_of(state))
            self.stepping += time.perf_counter() - began
            self.stepped += last - done
            self.bar.update((last - done) * self.settings.batch_size)
            done = last
            if last < end:
                every = self.settings.checkpoint_steps
                due = bool(every) and last % every == 0
                self.save_or_stop(progress._replace(state=state), due)
        return state

    def finish_epoch(self, progress: Progress, epoch: int) -> Progress:
        """Validate, write the row of the history, take a snapshot, save."""
        weights = self.weights_of(progress.state)
        validation = summarize(
            self.predict(weights, self.data.x_validation), self.data.y_validation
        )
        row = Epoch(
            epoch=epoch,
            train_loss=float(progress.state.epoch_loss) / self.steps,
            validation_loss=validation["loss"],
            validation_accuracy=validation["accuracy"],
            learning_rate=float(self.schedule(epoch * self.steps - 1)),
        )
        tqdm.write(
            f"epoch {epoch:3d}/{self.epochs}  loss {row.train_loss:.4f}  validation loss "
            f"{row.validation_loss:.4f}  accuracy {row.validation_accuracy:.4f}  "
            f"{self.rate():,.0f} images/s"
        )
        self.bar.set_postfix(
            loss=f"{row.train_loss:.4f}", accuracy=f"{row.validation_accuracy:.4f}"
        )
        snapshots = progress.snapshots
        if epoch in {*self.settings.snapshot_epochs, self.epochs}:
            snapshots = [*snapshots, self.taker.take(epoch, weights)]
        progress = progress._replace(history=[*progress.history, row], snapshots=snapshots)
        self.save_or_stop(progress, due=True)
        return progress

    def save_or_stop(self, progress: Progress, due: bool) -> None:
        """Save where it is due, or asked for by a request to stop, which then stops."""
        stop = self.stop_asked()
        if self.checkpoints and (due or stop):
            self.checkpoints.save(progress._replace(seconds=self.seconds(progress)))
        if stop:
            raise StoppedError(int(progress.state.step), self.steps * self.epochs)

    def weights_of(self, state: TrainState) -> hk.Params:
        """The weights that validation sees; split on the host, which needs no compiling."""
        leaves, tree = jax.tree.flatten(self.like)
        ends = np.cumsum([leaf.size for leaf in leaves])[:-1]
        parts = np.split(np.asarray(state.params if state.ema is None else state.ema), ends)
        whole = [part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)]
        return jax.device_put(jax.tree.unflatten(tree, whole))

    def seconds(self, progress: Progress) -> float:
        return progress.seconds + time.perf_counter() - self.began

    def rate(self) -> float:
        """Images a second, of the steps that this process has taken."""
        return self.stepped * self.settings.batch_size / self.stepping


def _ends_of_calls(done: int, steps: int, checkpoint_steps: int) -> list[int]:
    """Numbers of steps to pause at, from `done` to the end of its epoch of `steps`."""
    first = done // steps * steps
    ends = {first + steps * call // CALLS_PER_EPOCH for call in range(1, CALLS_PER_EPOCH + 1)}
    if checkpoint_steps:
        due = -(-first // checkpoint_steps) * checkpoint_steps
        ends.update(range(due, first + steps, checkpoint_steps))
    return sorted(end for end in ends if end > done)
