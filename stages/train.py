"""Train the Vision Transformer and write its weights, history and curves."""

import dataclasses
import os
from pathlib import Path

import haiku as hk
import pandas as pd

from vit_hk.atomic import replacing
from vit_hk.dataset import Dataset, load_dataset
from vit_hk.device import select_device
from vit_hk.errors import UserError, one_line_errors
from vit_hk.figures.curves import draw_curves
from vit_hk.figures.saving import save_figure
from vit_hk.model.vit import count_parameters
from vit_hk.params import Params, load_params
from vit_hk.timing import record_timing
from vit_hk.training.data import TrainingData, prepare_data
from vit_hk.training.loop import NotFiniteError, train
from vit_hk.weights import WeightsInfo, save_weights

DATASET = Path("data/dataset.npz")
WEIGHTS = Path("models/vit.safetensors")
HISTORY = Path("results/history.csv")
CURVES = Path("results/curves.png")
TIMING = Path("results/timing.json")


def main() -> None:
    """params.yaml: seed, model, train; data/dataset.npz -> weights, history, curves."""
    params = load_params()
    dataset = load_dataset(DATASET)
    data = prepare_data(dataset, params)
    device = select_device(params.train.platform)
    size = count_parameters(params.model, dataset.image_shape, dataset.num_classes)
    print(
        f"{len(data.x_train):,} training and {len(data.x_validation):,} validation images of "
        f"{dataset.name} ({dataset.source})\n"
        f"{size:,} parameters on {device.device_kind} ({device.platform})",
        flush=True,
    )
    info = describe(params, dataset, data)
    try:
        trained = train(params, data, dataset.num_classes)
    except NotFiniteError as failure:
        raise UserError(explain(failure, save_last_good(failure.params, info))) from None
    save_weights(WEIGHTS, trained.params, info)
    history = pd.DataFrame([dataclasses.asdict(epoch) for epoch in trained.history])
    with replacing(HISTORY) as temporary:
        history.to_csv(temporary, index=False, float_format="%.6g")
    save_figure(draw_curves(history), CURVES)
    record_timing(TIMING, "train", dataclasses.asdict(trained.timing))


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


def save_last_good(params: hk.Params, info: WeightsInfo) -> Path:
    """Keep weights outside of the pipeline's outputs, where no later stage takes them for final."""
    path = Path(os.environ.get("DVC_ROOT", ".")) / ".scratch" / "train" / "last_good.safetensors"
    save_weights(path, params, info)
    return path


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
