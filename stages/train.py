"""Train the Vision Transformer and write its weights, history and curves."""

import dataclasses
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from vit_hk.atomic import check_writable, replacing
from vit_hk.dataset import Dataset, load_dataset
from vit_hk.device import select_device
from vit_hk.division import divide_for_step
from vit_hk.errors import UserError, one_line_errors
from vit_hk.explain.patch_attention import name_of_reader
from vit_hk.figures.curves import draw_curves
from vit_hk.figures.saving import save_figure
from vit_hk.figures.snapshots import draw_snapshots
from vit_hk.memory import check_training_fits, enough_memory
from vit_hk.model.vit import count_parameters
from vit_hk.params import Params, load_params
from vit_hk.timing import record_timing
from vit_hk.training.checkpoint import Checkpoints
from vit_hk.training.data import TrainingData, prepare_data
from vit_hk.training.interruption import StopRequest
from vit_hk.training.loop import NotFiniteError, StoppedError, Trained, train
from vit_hk.training.progress import Snapshot
from vit_hk.training.scratch import SCRATCH, only_trainer, scratch_folder, training_key
from vit_hk.training.snapshots import snapshot_images
from vit_hk.weights import WeightsInfo, save_weights

DATASET = Path("data/dataset.npz")
WEIGHTS = Path("models/vit.safetensors")
HISTORY = Path("results/history.csv")
SNAPSHOTS = Path("results/snapshots.npz")
CURVES = Path("results/curves.png")
TIMING = Path("results/timing.json")


@enough_memory("train.batch_size")
def main() -> None:
    """params.yaml: seed, model, train; data/dataset.npz -> weights, history, curves."""
    params = load_params()
    check_writable(WEIGHTS, HISTORY, SNAPSHOTS, CURVES, TIMING)
    dataset = load_dataset(DATASET)
    data = prepare_data(dataset, params)
    device = select_device(params.train.platform)
    size = count_parameters(params.model, dataset.image_shape, dataset.num_classes)
    info = describe(params, dataset, data)
    division = divide_for_step(params.train.batch_size, info.num_tokens)
    data_bytes = data.x_train.nbytes
    check_training_fits(
        params.model, info.num_patches, division, size, data_bytes, params.train.remat
    )
    folder = scratch_folder(training_key(params, DATASET, device))
    parent = os.getppid()
    # Two locks: no other training writes these outputs, and none this state.
    with only_trainer(SCRATCH), only_trainer(folder), StopRequest() as stop:
        print(
            f"{len(data.x_train):,} training and {len(data.x_validation):,} validation images of "
            f"{dataset.name} ({dataset.source})\n"
            f"{size:,} parameters on {device.device_kind} ({device.platform})",
            flush=True,
        )
        try:
            trained = train(params, data, dataset.num_classes, Checkpoints(folder), stop.asked)
        except NotFiniteError as failure:
            last_good = folder / "last_good.safetensors"
            save_weights(last_good, failure.params, info)
            raise UserError(explain(failure, last_good)) from None
        except StoppedError as stopped:
            print(f"{stopped}; go on with: dvc repro", file=sys.stderr)
            raise SystemExit(stop.exit_code) from None
        write_results(trained, data, info)
        # DVC does not take results from a training that outlived it; the next one needs the state.
        if os.getppid() == parent:
            shutil.rmtree(folder)


def write_results(trained: Trained, data: TrainingData, info: WeightsInfo) -> None:
    """Write weights, history, curves and snapshots, and how long it took."""
    save_weights(WEIGHTS, trained.params, info)
    history = pd.DataFrame([dataclasses.asdict(epoch) for epoch in trained.history])
    with replacing(HISTORY) as temporary:
        history.to_csv(temporary, index=False, float_format="%.6g")
    save_figure(draw_curves(history), CURVES)
    write_snapshots(trained.snapshots, data, info)
    record_timing(TIMING, "train", dataclasses.asdict(trained.timing))


def write_snapshots(snapshots: list[Snapshot], data: TrainingData, info: WeightsInfo) -> None:
    """Write results/snapshots.npz and the sheet of it."""
    attention = np.stack([snapshot.attention for snapshot in snapshots])
    probabilities = np.stack([snapshot.probabilities for snapshot in snapshots])
    epochs = [snapshot.epoch for snapshot in snapshots]
    chosen = snapshot_images(data)
    images, labels = data.x_validation[chosen], data.y_validation[chosen]
    with replacing(SNAPSHOTS) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            attention=attention,
            probabilities=probabilities,
            epochs=np.array(epochs),
            images=images,
            labels=labels,
        )
    names = info.class_names
    maps = attention[:, -1].mean(axis=2)  # last layer: [S, B, N]
    figure = draw_snapshots(
        images,
        maps.reshape(*maps.shape[:-1], *info.grid),
        epochs,
        [names[label] for label in labels],
        [[f"{names[p.argmax()]} ({100 * p.max():.0f} %)" for p in some] for some in probabilities],
        name_of_reader(info.model.pool),
    )
    save_figure(figure, SNAPSHOTS.with_suffix(".png"))


def describe(params: Params, dataset: Dataset, data: TrainingData) -> WeightsInfo:
    """What the weights file says of itself."""
    return WeightsInfo(
        model=params.model,
        data=dataset.name,
        source=dataset.source,
        class_names=list(dataset.class_names),
        image_shape=list(dataset.image_shape),
        mean=data.mean,
        std=data.std,
        seed=params.seed,
        validation_fraction=params.train.validation_fraction,
    )


def explain(failure: NotFiniteError, kept: Path) -> str:
    """One line about a training that blew up."""
    return (
        f"the loss or its gradient is not finite at step {failure.step:,} (learning rate "
        f"{failure.learning_rate:.3g}); training stopped before that update, the weights before it "
        f"are in {kept}; lower train.learning_rate, or set train.grad_clip or a longer "
        "train.warmup_epochs"
    )


if __name__ == "__main__":
    with one_line_errors():
        main()
