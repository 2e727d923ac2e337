"""Run the trained model over every test image once; write metrics and tables."""

import functools
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from stages import paths
from vit_hk.atomic import check_writable, replacing
from vit_hk.data.dataset import Dataset, load_dataset
from vit_hk.data.image_rows import ImageArray, ImageRows, mean_image
from vit_hk.data.splits import stratified_split
from vit_hk.errors import one_line_errors
from vit_hk.explain.explainer import Explainer
from vit_hk.explain.faithfulness import (
    Faithfulness,
    faithfulness,
    mean_and_standard_error,
    reference_maps,
)
from vit_hk.explain.methods import METHODS
from vit_hk.explain.selection import evenly_spaced_indices
from vit_hk.inference import build_predictor
from vit_hk.metrics import per_class_table, predictions_table, summarize
from vit_hk.model.vit import make_model
from vit_hk.params import load_params
from vit_hk.runtime.devices import configure_jax
from vit_hk.runtime.memory import report_out_of_memory
from vit_hk.timing import record_timing
from vit_hk.weights import load_weights
from vit_hk.weights_metadata import WeightsInfo, weights_digest

RANDOM_ORDER_SEED = 0  # fixed, so that all experiments are compared with the same random order

Predict = Callable[[ImageArray], np.ndarray]  # images [images, …] -> logits [images, C]


@report_out_of_memory("evaluate.batch_size")
def main() -> None:
    """Write metrics and tables from params.yaml, data/dataset.npz and models/vit.safetensors."""
    params = load_params()
    check_writable(
        paths.METRICS, paths.PER_CLASS, paths.PREDICTIONS, paths.FAITHFULNESS, paths.TIMING
    )
    dataset = load_dataset(paths.DATASET)
    configure_jax(params.platform)
    weights, info = load_weights(paths.WEIGHTS, params.model, dataset)
    model = make_model(info.model, dataset.num_classes)
    batch_size = min(params.evaluate.batch_size, len(dataset.x_test))
    predict = functools.partial(build_predictor(model, info, batch_size), weights)
    logits, seconds = predict_test_images(predict, dataset)
    count = params.evaluate.num_faithfulness_images(len(logits))
    explainer = Explainer(model, weights, info, params.attention)
    methods, curves = measure_faithfulness(predict, explainer, info, dataset, logits, count)
    # Adding 0 removes the minus of a rounded -0.0.
    means, _ = mean_and_standard_error(curves.scores)
    scores = dict(zip(methods, (means.round(4) + 0.0).tolist(), strict=True))
    validation = validate(predict, info, dataset)
    write_metrics(dataset, summarize(logits, dataset.y_test), validation, scores)
    write_tables(dataset, logits)
    write_faithfulness(methods, curves)
    rate = {"seconds": seconds, "images_per_second": len(logits) / seconds}
    record_timing(paths.TIMING, "evaluate", weights_digest(paths.WEIGHTS), rate)


def predict_test_images(predict: Predict, dataset: Dataset) -> tuple[np.ndarray, float]:
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


def validate(
    predict: Predict, info: WeightsInfo, dataset: Dataset
) -> dict[str, float | int] | None:
    """Return the metrics of the images that were held out from the training of these weights.

    For imported weights they are unknown, and the result is None.
    """
    if info.validation_fraction is None or info.seed is None:
        return None
    _, held_out = stratified_split(dataset.y_train, info.validation_fraction, info.seed)
    logits = predict(ImageRows(dataset.x_train, held_out))
    return summarize(logits, dataset.y_train[held_out])


def write_metrics(
    dataset: Dataset,
    test: dict[str, float | int],
    validation: dict[str, float | int] | None,
    faithfulness_scores: dict[str, float],
) -> None:
    """Write the headline metrics as JSON, nested by split."""
    metrics: dict[str, Any] = {"data": dataset.name, "source": dataset.source, "test": test}
    if validation is not None:
        names = ("accuracy", "loss", "examples")
        metrics["validation"] = {name: validation[name] for name in names}
    metrics["faithfulness"] = faithfulness_scores
    with replacing(paths.METRICS) as temporary:
        text = json.dumps(metrics, indent=2, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", "utf-8")
    print(f"{paths.METRICS}: {json.dumps(metrics['test'])}")


def write_tables(dataset: Dataset, logits: np.ndarray) -> None:
    """Write a row for each class, and a row for each test image."""
    names = list(dataset.class_names)
    per_class = per_class_table(dataset.y_test, logits.argmax(axis=-1), names)
    with replacing(paths.PER_CLASS) as temporary:
        per_class.to_csv(temporary, index=False)
    with replacing(paths.PREDICTIONS) as temporary:
        predictions_table(dataset.y_test, logits, names).to_csv(temporary, index=False)


def write_faithfulness(methods: list[str], curves: Faithfulness) -> None:
    """Write a row for each point of each method's deletion and insertion curve.

    Columns that end in `_error` hold standard errors over the images: of the mean probabilities,
    and of the method's score, which is the same in all rows of a method.
    """
    points = len(curves.shares)
    deletion, deletion_error = mean_and_standard_error(curves.deletion)
    insertion, insertion_error = mean_and_standard_error(curves.insertion)
    _, score_error = mean_and_standard_error(curves.scores)
    table = pd.DataFrame(
        {
            "method": np.repeat(methods, points),
            "share": np.tile(curves.shares, len(methods)),
            "deletion": deletion.ravel(),
            "insertion": insertion.ravel(),
            "deletion_error": deletion_error.ravel(),
            "insertion_error": insertion_error.ravel(),
            "score_error": np.repeat(score_error, points),
        }
    ).round(6)
    with replacing(paths.FAITHFULNESS) as temporary:
        table.to_csv(temporary, index=False)


if __name__ == "__main__":
    with one_line_errors():
        main()
