"""The training loop: epochs, validation, history, snapshots and checkpoints."""

import contextlib
import dataclasses
import itertools
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import haiku as hk
from tqdm import tqdm

from vit_hk.inference import make_predictor
from vit_hk.metrics import summarize
from vit_hk.model.vit import init_params, make_model
from vit_hk.params import Config
from vit_hk.runtime.cluster import is_main_process, wait_for_all
from vit_hk.training.checkpoint import Checkpoints
from vit_hk.training.data import TrainingData, epoch_order
from vit_hk.training.device_data import CallInputs
from vit_hk.training.feed import make_feed
from vit_hk.training.layouts import validation_layout
from vit_hk.training.output import print_line
from vit_hk.training.progress import Epoch, Progress, Snapshot
from vit_hk.training.snapshots import SnapshotTaker
from vit_hk.training.train_step import TrainState, build_train_step


@dataclasses.dataclass(frozen=True)
class Timing:
    """Measured durations and rate of a training."""

    compile_seconds: float  # with the first weights, and the copy of the images
    train_seconds: float  # with validation and checkpoints, of interrupted processes too
    images_per_second: float  # of the training steps alone


@dataclasses.dataclass(frozen=True)
class Trained:
    """The result of a training: weights, history, snapshots and timing."""

    params: hk.Params  # the final weights: the moving average if there is one
    history: list[Epoch]
    snapshots: list[Snapshot]
    timing: Timing


NOT_FINITE_REMEDY = (
    "lower train.learning_rate, or set train.grad_clip or a longer train.warmup_epochs"
)


class NotFiniteError(Exception):
    """A step whose loss, gradient or new weights are not finite, and which is not applied.

    Attributes:
      step: number of that step, from 1.
      learning_rate: its learning rate.
      params: the weights before it, without a moving average.
    """

    def __init__(self, step: int, learning_rate: float, params: hk.Params) -> None:
        """Store the step, its learning rate and the last finite weights."""
        super().__init__(f"loss, gradient or new weights not finite at step {step}")
        self.step, self.learning_rate, self.params = step, learning_rate, params


class StoppedError(Exception):
    """A stop that was requested, after `step` of `steps`; the state is saved."""

    def __init__(self, step: int, steps: int) -> None:
        """Store the number of steps done and of all steps."""
        super().__init__(f"stopped after step {step:,} of {steps:,}")
        self.step, self.steps = step, steps


def train(
    config: Config,
    data: TrainingData,
    num_classes: int,
    checkpoints: Checkpoints | None = None,
    stop_requested: Callable[[], bool] = lambda: False,
    initial_weights: hk.Params | None = None,
) -> Trained:
    """Train for all epochs of `config.train`, from first weights or from the newest checkpoint.

    It prints a line per epoch, and on a terminal a progress bar. A training that is interrupted and
    resumed ends with the same bytes of weights and history as one that is not.

    Args:
      config: all settings.
      data: images on the host.
      num_classes: C.
      checkpoints: the checkpoints to resume from, and to save to after each epoch; None saves none.
      stop_requested: called between calls of the compiled loop, where True saves the state and
        stops, and once at the end, where the state is saved already.
      initial_weights: the first weights; None draws them.

    Raises:
      MemoryError: a lower bound of the memory that the training takes is more than is free.
      NotFiniteError: a loss, a gradient or a new weight was not finite.
      StoppedError: `stop_requested` returned True.
      UserError: a checkpoint cannot be written, or all of them are damaged.
    """
    trainer = _Trainer(config, data, num_classes, checkpoints, stop_requested)
    return trainer.run(initial_weights)


class _Trainer:
    """The compiled parts of one training, and the loop over its epochs."""

    def __init__(
        self,
        config: Config,
        data: TrainingData,
        num_classes: int,
        checkpoints: Checkpoints | None,
        stop_requested: Callable[[], bool],
    ) -> None:
        self.config, self.settings = config, config.train
        self.data, self.num_classes = data, num_classes
        self.checkpoints, self.stop_requested = checkpoints, stop_requested
        self.epochs = config.train.epochs
        self.created = time.perf_counter()
        self._build_inference()
        self.train_step = build_train_step(config, data, num_classes)
        self.steps_per_epoch = self.train_step.steps_per_epoch

    def _build_inference(self) -> None:
        """Build the predictor and the snapshot taker, whose model computes in float32."""
        config = self.config
        model = make_model(config.model, self.num_classes, scan_layers=config.train.scan_layers)
        layout = validation_layout(config, self.data.x_train.shape[1:])
        self.predict = make_predictor(model, self.data.normalization, layout)
        self.snapshot_taker = SnapshotTaker(config.model, self.num_classes, self.data)

    def _compile(self, initial_weights: hk.Params | None) -> Progress:
        """Compile the loop; in another thread, draw the first weights and compile the predictor.

        Each takes seconds; the loop is compiled from shapes, so it does not wait for the weights.

        Returns:
          The progress before the first step.
        """

        def first_weights() -> hk.Params:
            weights = initial_weights
            if weights is None:
                image_shape, seed = self.data.x_train.shape[1:], self.config.seed
                weights = init_params(self.config.model, image_shape, self.num_classes, seed)
            self.predict(weights, self.data.x_validation[:1])  # compiles it
            return weights

        with ThreadPoolExecutor(1) as executor:
            weights = executor.submit(first_weights)
            self.feed = make_feed(self.data, self.train_step.layout, self.steps_per_epoch)
            self.run_steps = self.train_step.compile(self.feed)
        start = Progress(self.train_step.init_state(weights.result()), [], [], 0.0)
        self.compile_seconds = time.perf_counter() - self.created
        return start

    def run(self, initial_weights: hk.Params | None) -> Trained:
        """Run the remaining epochs."""
        progress = self._compile(initial_weights)
        self.began = time.perf_counter()
        self.steps_done, self.step_seconds = 0, 0.0  # in this process
        wait_for_all()
        if self.checkpoints:
            # The same name, so that the initial state is freed once a checkpoint is restored.
            progress = self.checkpoints.restore(progress)
        first = int(progress.state.step)
        if first:
            total = self.steps_per_epoch * self.epochs
            print_line(f"resumed after step {first:,} of {total:,}", sys.stdout)
        batch_size = self.settings.batch_size
        self.bar = tqdm(
            total=self.epochs * self.steps_per_epoch * batch_size, initial=first * batch_size,
            unit=" images", unit_scale=True, disable=None if is_main_process() else True,
        )  # fmt: skip
        with self.bar:
            for epoch in range(len(progress.history) + 1, self.epochs + 1):
                self.bar.set_description(f"epoch {epoch}/{self.epochs}")
                state = self.run_epoch(progress)
                progress = self.finish_epoch(progress._replace(state=state), epoch)
        # A stop may have been requested while the last checkpoint was written or restored.
        if self.stop_requested():
            raise StoppedError(int(progress.state.step), self.steps_per_epoch * self.epochs)
        rate = self.images_per_second() if self.steps_done else 0.0
        timing = Timing(self.compile_seconds, self.seconds(progress), rate)
        weights = self.train_step.eval_params(progress.state)
        return Trained(weights, progress.history, progress.snapshots, timing)

    def run_epoch(self, progress: Progress) -> TrainState:
        """Take the remaining steps of an epoch."""
        state, step = progress.state, int(progress.state.step)
        end_of_epoch = (len(progress.history) + 1) * self.steps_per_epoch
        order = epoch_order(self.config.seed, len(progress.history), len(self.data.x_train))
        checkpoint_steps = self.settings.checkpoint_steps
        ends = _call_ends(step, self.steps_per_epoch, self.feed.calls_per_epoch, checkpoint_steps)
        bounds = list(itertools.pairwise([step, *ends]))
        with contextlib.closing(self.feed.calls(order, bounds)) as calls:
            for start, end in bounds:
                state = self.run_call(state, calls, end - start)
                if end < end_of_epoch:
                    is_due = bool(checkpoint_steps) and end % checkpoint_steps == 0
                    self.save_or_stop(progress._replace(state=state), is_due)
        return state

    def run_call(
        self, state: TrainState, calls: Iterator[CallInputs], num_steps: int
    ) -> TrainState:
        """Take the steps of the next call; if its images are not there yet, wait for them."""
        began = time.perf_counter()
        inputs = next(calls)
        wait_for_all()  # a process may read its images from a slow disk
        state, is_finite = self.run_steps(state, inputs)
        if not is_finite:
            step = int(state.step)
            weights = self.train_step.last_params(state)
            raise NotFiniteError(step + 1, float(self.train_step.schedule(step)), weights)
        self.step_seconds += time.perf_counter() - began
        self.steps_done += num_steps
        self.bar.update(num_steps * self.settings.batch_size)
        return state

    def finish_epoch(self, progress: Progress, epoch: int) -> Progress:
        """Validate, add a row to the history, take a snapshot if one is due, and save."""
        weights = self.train_step.eval_params(progress.state)
        row = self.validate(progress.state, weights, epoch)
        print_line(
            f"epoch {epoch:3d}/{self.epochs}  loss {row.train_loss:.4f}  validation loss "
            f"{row.validation_loss:.4f}  accuracy {row.validation_accuracy:.4f}  "
            f"{self.images_per_second():,.0f} images/s",
            sys.stdout,
        )
        self.bar.set_postfix(
            loss=f"{row.train_loss:.4f}", accuracy=f"{row.validation_accuracy:.4f}"
        )
        snapshots = progress.snapshots
        if epoch in {*self.settings.snapshot_epochs, self.epochs}:
            snapshots = [*snapshots, self.snapshot_taker.take(epoch, weights)]
        progress = progress._replace(history=[*progress.history, row], snapshots=snapshots)
        self.save_or_stop(progress, is_due=True)
        return progress

    def validate(self, state: TrainState, weights: hk.Params, epoch: int) -> Epoch:
        """Measure the loss and accuracy of the validation images after an epoch."""
        logits = self.predict(weights, self.data.x_validation)
        validation = summarize(logits, self.data.y_validation)
        return Epoch(
            epoch=epoch,
            train_loss=float(state.epoch_loss) / self.steps_per_epoch,
            validation_loss=validation["loss"],
            validation_accuracy=validation["accuracy"],
            learning_rate=float(self.train_step.schedule(epoch * self.steps_per_epoch - 1)),
        )

    def save_or_stop(self, progress: Progress, is_due: bool) -> None:
        """Save a checkpoint if one is due; if a stop is requested, save one and stop."""
        stop = self.stop_requested()
        if self.checkpoints and (is_due or stop):
            self.checkpoints.save(progress._replace(seconds=self.seconds(progress)))
        if stop:
            raise StoppedError(int(progress.state.step), self.steps_per_epoch * self.epochs)

    def seconds(self, progress: Progress) -> float:
        """Return the seconds spent on this training, in this process and earlier ones."""
        return progress.seconds + time.perf_counter() - self.began

    def images_per_second(self) -> float:
        """Return the images per second of the steps that this process has taken."""
        return self.steps_done * self.settings.batch_size / self.step_seconds


def _call_ends(
    step: int, steps_per_epoch: int, calls_per_epoch: int, checkpoint_steps: int
) -> list[int]:
    """Return the steps at which calls of the loop end, from `step` to the end of its epoch."""
    first = step // steps_per_epoch * steps_per_epoch
    calls = range(1, calls_per_epoch + 1)
    ends = {first + steps_per_epoch * call // calls_per_epoch for call in calls}
    if checkpoint_steps:
        due = -(-first // checkpoint_steps) * checkpoint_steps
        ends.update(range(due, first + steps_per_epoch, checkpoint_steps))
    return sorted(end for end in ends if end > step)
