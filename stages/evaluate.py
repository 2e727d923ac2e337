"""Run the trained model over the test images; write metrics and tables."""

import functools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stages import paths, run_stage
from vit_hk.atomic import check_writable, replacing
from vit_hk.calibration import Calibration
from vit_hk.data.dataset import Dataset, load_dataset
from vit_hk.data.image_rows import ImageArray, ImageRows, mean_image
from vit_hk.data.splits import stratified_split
from vit_hk.errors import UserError
from vit_hk.explain.explainer import Explainer
from vit_hk.explain.faithfulness import (
    Faithfulness,
    faithfulness,
    faithfulness_table,
    mean_scores,
    reference_maps,
)
from vit_hk.explain.methods import METHODS
from vit_hk.explain.selection import evenly_spaced_indices
from vit_hk.inference import build_predictor
from vit_hk.metrics import summarize, summarize_scaled
from vit_hk.model.vit import make_model
from vit_hk.params import EvaluateSettings, load_config
from vit_hk.robustness import mean_accuracies, measure_corruptions
from vit_hk.runtime.devices import configure_jax
from vit_hk.runtime.memory import report_out_of_memory
from vit_hk.tables import per_class_table, predictions_table
from vit_hk.timing import record_timing
from vit_hk.weights import load_weights
from vit_hk.weights_metadata import WeightsInfo, weights_digest

OUTPUTS = (
    paths.METRICS,
    paths.PER_CLASS,
    paths.PREDICTIONS,
    paths.FAITHFULNESS,
    paths.CORRUPTIONS,
    paths.TIMING,
)
RANDOM_ORDER_SEED = 0  # fixed, so that all experiments are compared with the same random order

Predict = Callable[[ImageArray], np.ndarray]  # images [images, …] -> logits [images, C]


@report_out_of_memory("evaluate.batch_size")
def main() -> None:
    """Write metrics and tables from params.yaml, data/dataset.npz and models/vit.safetensors."""
    config = load_config()
    check_writable(*OUTPUTS)
    dataset = load_dataset(paths.DATASET)
    configure_jax(config.platform)
    weights, info, calibration = load_weights(paths.WEIGHTS, config.model, dataset)
    model = make_model(info.model, dataset.num_classes)
    explainer = Explainer(model, weights, info, config.attention)
    batch_size = min(config.evaluate.batch_size, len(dataset.x_test))
    predict = functools.partial(build_predictor(model, info, batch_size), weights)
    logits, seconds = time_predictions(predict, dataset)
    if not np.isfinite(logits).all():
        raise UserError(
            f"{paths.WEIGHTS}: the logits of test images are not finite; train again with other "
            "settings, or use other weights"
        )
    count = config.evaluate.num_faithfulness_images(len(logits))
    methods, curves = measure_faithfulness(predict, explainer, info, dataset, logits, count)
    corruptions = measure_corrupted_accuracy(predict, dataset, config.evaluate)
    write_metrics(
        {
            "data": dataset.name,
            "source": dataset.source,
            "test": summarize(logits, dataset.y_test),
            "temperature_scaled": summarize_temperature_scaled(logits, dataset.y_test, calibration),
            "validation": validate(predict, info, dataset),
            "corruptions": mean_accuracies(corruptions),
            "faithfulness": mean_scores(methods, curves),
        }
    )
    names = list(dataset.class_names)
    write_tables(
        {
            paths.PER_CLASS: per_class_table(dataset.y_test, logits.argmax(axis=-1), names),
            paths.PREDICTIONS: predictions_table(dataset.y_test, logits, names),
            paths.FAITHFULNESS: faithfulness_table(methods, curves),
            paths.CORRUPTIONS: corruptions,
        }
    )
    rate = {"seconds": seconds, "images_per_second": len(logits) / seconds}
    record_timing(paths.TIMING, "evaluate", weights_digest(paths.WEIGHTS), rate)


def time_predictions(predict: Predict, dataset: Dataset) -> tuple[np.ndarray, float]:
    """Return the logits of all test images, float32 [images, C], and the seconds they took."""
    predict(dataset.x_test[:1])  # compiles
    started = time.perf_counter()
    logits = predict(dataset.x_test)
    return logits, time.perf_counter() - started


def measure_faithfulness(
    predict: Predict,
    explainer: Explainer,
    info: WeightsInfo,
    dataset: Dataset,
    logits: np.ndarray,
    count: int,
) -> tuple[list[str], Faithfulness]:
    """Measure deletion and insertion with all attribution methods and reference orders.

    Args:
      predict: the trained model.
      explainer: computes the attribution maps.
      info: metadata of the weights.
      dataset: the images and their labels.
      logits: float32 [images, C], of all test images.
      count: number of test images to measure.

    Returns:
      The names of the methods, and their curves.
    """
    indices = evenly_spaced_indices(count, len(logits))
    images, classes = ImageRows(dataset.x_test, indices), logits[indices].argmax(axis=-1)
    maps = explainer.maps(images, classes)
    references = reference_maps(images, info.grid, RANDOM_ORDER_SEED)
    mean_training_image = mean_image(dataset.x_train).round().astype(np.uint8)
    curves = faithfulness(
        predict,
        images,
        mean_training_image,
        np.stack([*maps, *references.values()]),
        classes,
        info.grid,
    )
    return [*METHODS, *references], curves


def measure_corrupted_accuracy(
    predict: Predict, dataset: Dataset, settings: EvaluateSettings
) -> pd.DataFrame:
    """Return the accuracy on corrupted test images; see `measure_corruptions`."""
    total = len(dataset.x_test)
    indices = evenly_spaced_indices(settings.num_corrupted_images(total), total)
    images, labels = ImageRows(dataset.x_test, indices), dataset.y_test[indices]
    return measure_corruptions(predict, images, labels, settings.corruptions)


def summarize_temperature_scaled(
    logits: np.ndarray, labels: np.ndarray, calibration: Calibration | None
) -> dict[str, float | int] | None:
    """Return the metrics of the test images that change with the temperature of the weights.

    `train` fits it on validation images; imported weights have none, and the result is None.
    """
    if calibration is None:
        return None
    return summarize_scaled(logits, labels, float(calibration.temperature))


def validate(predict: Predict, info: WeightsInfo, dataset: Dataset) -> dict[str, Any] | None:
    """Return the metrics of the images that were held out from the training of these weights.

    For imported weights they are unknown, and the result is None.
    """
    if info.validation_fraction is None or info.seed is None:
        return None
    _, held_out = stratified_split(dataset.y_train, info.validation_fraction, info.seed)
    logits = predict(ImageRows(dataset.x_train, held_out))
    summary = summarize(logits, dataset.y_train[held_out])
    return {name: summary[name] for name in ("accuracy", "loss", "examples")}


def write_metrics(metrics: dict[str, Any]) -> None:
    """Write the headline metrics as JSON, nested by what they are of; None is left out."""
    known = {name: value for name, value in metrics.items() if value is not None}
    for name in (name for name in metrics if name not in known):
        print(f"{paths.METRICS}: no {name}, since the weights file lacks what it needs")
    with replacing(paths.METRICS) as temporary:
        text = json.dumps(known, indent=2, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", "utf-8")
    print(f"{paths.METRICS}: {json.dumps(metrics['test'])}")


def write_tables(tables: dict[Path, pd.DataFrame]) -> None:
    """Write each table as a CSV file."""
    for path, table in tables.items():
        with replacing(path) as temporary:
            table.to_csv(temporary, index=False)


if __name__ == "__main__":
    run_stage(main)
