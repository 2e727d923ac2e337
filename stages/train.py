"""Train the Vision Transformer; write its weights, its history and snapshots of its attention."""

import csv
import dataclasses
import sys
from pathlib import Path

import haiku as hk
import numpy as np

from stages import PARENT, paths, run_stage
from vit_hk.atomic import check_writable, replacing
from vit_hk.calibration import Calibration
from vit_hk.data.dataset import Dataset, load_dataset
from vit_hk.errors import UserError
from vit_hk.model.size import count_parameters
from vit_hk.params import Config, load_config
from vit_hk.runtime.cluster import check_same, is_main_process, joined_processes, wait_for_all
from vit_hk.runtime.devices import configure_jax
from vit_hk.runtime.memory import report_out_of_memory
from vit_hk.timing import read_timing, record_timing
from vit_hk.training.checkpoint import Checkpoints
from vit_hk.training.code_identity import PROJECT, Code, read_code
from vit_hk.training.data import TrainingData, prepare_data
from vit_hk.training.fingerprint import compute_fingerprint
from vit_hk.training.fit_calibration import calibrate
from vit_hk.training.initial_weights import load_initial_weights
from vit_hk.training.inputs import check_unchanged, read_inputs
from vit_hk.training.interruption import StopRequest, ignore_signals
from vit_hk.training.layouts import training_layout
from vit_hk.training.loop import NOT_FINITE_REMEDY, NotFiniteError, StoppedError, Trained, train
from vit_hk.training.output import print_line
from vit_hk.training.progress import Epoch, Snapshot
from vit_hk.training.snapshots import snapshot_indices
from vit_hk.training.state import (
    discard_state,
    dvc_is_gone,
    lock_folders,
    runs_below_dvc,
    state_folder,
)
from vit_hk.weights import save_weights
from vit_hk.weights_metadata import WeightsInfo, weights_digest

# Advice where processes would run different trainings.
REMEDY = (
    "use the same params.yaml, data, code, packages, kind of device, and variables of the "
    "environment, such as XLA_FLAGS"
)


@report_out_of_memory("train.batch_size")
def main() -> None:
    """Write weights, history and snapshots from params.yaml and data/dataset.npz."""
    code = read_code(PROJECT, "train")  # at first, since a file may change at any time
    config = load_config()
    check_writable(paths.WEIGHTS, paths.HISTORY, paths.SNAPSHOTS, paths.TIMING)
    # Before the data set is read: a process may read it from a slow disk, and joining has a limit.
    with joined_processes():
        run(config, code)


def run(config: Config, code: Code) -> None:
    """Train, in this process or in all that have joined, and write the results in one.

    Args:
      config: all settings.
      code: the code, as it was when the stage began.
    """
    inputs = read_inputs(config, paths.DATASET, code.hash)  # before what it hashes is read
    dataset = load_dataset(paths.DATASET)
    data = prepare_data(dataset, config)
    device = configure_jax(config.platform)
    info = describe_weights(config, dataset, data)
    initial_weights = load_initial_weights(config, dataset)
    fingerprint = compute_fingerprint(inputs, code.files, device)
    check_same(fingerprint, REMEDY)
    folder = state_folder(fingerprint)
    with lock_folders(folder):
        num_parameters = count_parameters(config.model, dataset.image_shape, dataset.num_classes)
        print(
            f"{len(data.x_train):,} training and {len(data.x_validation):,} validation images of "
            f"{dataset.name} ({dataset.source})\n"
            f"{num_parameters:,} parameters on {device.device_kind} ({device.platform})",
            flush=True,
        )
        trained = train_or_stop(config, data, info, folder, initial_weights)
        calibration = calibrate(config, trained.params, data, dataset.num_classes)
        if not is_main_process():
            return
        if dvc_is_gone(PARENT):
            # The outputs in the workspace may be those of another experiment by now.
            print_line("dvc has ended; to write the results at once: dvc repro", sys.stdout)
            return
        if runs_below_dvc():
            check_unchanged(inputs, paths.DATASET)
        write_results(trained, calibration, data, info)
        ignore_signals()
        discard_state(folder, PARENT)


def train_or_stop(
    config: Config,
    data: TrainingData,
    info: WeightsInfo,
    state: Path,
    initial_weights: hk.Params | None,
) -> Trained:
    """Train to the end, or until a signal asks to stop.

    Args:
      config: all settings.
      data: the images.
      info: the metadata of the weights.
      state: the folder of the training's state.
      initial_weights: the first weights; None draws them.

    Raises:
      UserError: the training diverged.
      SystemExit: a signal stopped it.
    """
    with StopRequest() as stop:
        try:
            return train(
                config, data, len(info.class_names), Checkpoints(state), stop.is_set,
                initial_weights,
            )  # fmt: skip
        except NotFiniteError as failure:
            last_finite = state / "last_finite.safetensors"
            if is_main_process():
                save_weights(last_finite, failure.params, info)
            wait_for_all()  # the first that fails ends the others
            raise UserError(describe_failure(failure, last_finite)) from None
        except StoppedError as stopped:
            if is_main_process():
                print_line(f"{stopped}; go on with: dvc repro", sys.stderr)
            raise SystemExit(stop.exit_code) from None


def describe_weights(config: Config, dataset: Dataset, data: TrainingData) -> WeightsInfo:
    """Return the metadata of the weights file."""
    return WeightsInfo(
        model=config.model,
        data=dataset.name,
        source=dataset.source,
        class_names=list(dataset.class_names),
        image_shape=list(dataset.image_shape),
        preparation=dataset.preparation,
        mean=list(data.normalization.mean),
        std=list(data.normalization.std),
        seed=config.seed,
        validation_fraction=config.train.validation_fraction,
        layout=str(training_layout(config, dataset.image_shape)),
    )


def describe_failure(failure: NotFiniteError, last_finite: Path) -> str:
    """Return a line that describes a training that diverged, and what to do."""
    return (
        f"the loss, its gradient or a new weight is not finite at step {failure.step:,} "
        f"(learning rate {failure.learning_rate:.3g}); training stopped before that update, the "
        f"weights before it are in {last_finite}; {NOT_FINITE_REMEDY}"
    )


def write_results(
    trained: Trained, calibration: Calibration, data: TrainingData, info: WeightsInfo
) -> None:
    """Write weights with their calibration, history, snapshots and timing."""
    save_weights(paths.WEIGHTS, trained.params, info, calibration)
    write_history(trained.history)
    write_snapshots(trained.snapshots, data)
    weights = weights_digest(paths.WEIGHTS)
    timing = {name: value for name, value in dataclasses.asdict(trained.timing).items() if value}
    # Without a rate, all steps were taken before, by a process that may have recorded more.
    if "images_per_second" in timing or "train" not in read_timing(paths.TIMING, weights):
        record_timing(paths.TIMING, "train", weights, timing)


def write_history(history: list[Epoch]) -> None:
    """Write a row for each epoch. Without pandas, whose import would delay each training."""
    with replacing(paths.HISTORY) as temporary, temporary.open("w", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(field.name for field in dataclasses.fields(Epoch))
        for epoch in history:
            table.writerow(f"{value:.6g}" for value in dataclasses.astuple(epoch))


def write_snapshots(snapshots: list[Snapshot], data: TrainingData) -> None:
    """Write the snapshots, stacked along a first axis [snapshots, ...], and their images."""
    indices = snapshot_indices(data)
    with replacing(paths.SNAPSHOTS) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            attention=np.stack([snapshot.attention for snapshot in snapshots]),
            probabilities=np.stack([snapshot.probabilities for snapshot in snapshots]),
            epochs=np.array([snapshot.epoch for snapshot in snapshots]),
            images=data.x_validation[indices],
            labels=data.y_validation[indices],
        )


if __name__ == "__main__":
    run_stage(main)
