"""Run the trained model over every test image once and write metrics, tables and figures."""

import json
import time
from pathlib import Path

import numpy as np
import pandas as pd

from vit_hk.atomic import check_writable, replacing
from vit_hk.dataset import Dataset, load_dataset, stratified_split
from vit_hk.device import select_device
from vit_hk.division import divide_for_prediction
from vit_hk.errors import one_line_errors
from vit_hk.evaluation import (
    confusion_counts,
    most_confident_mistakes,
    per_class_table,
    softmax,
    summarize,
)
from vit_hk.explain.faithfulness import Faithfulness, faithfulness, reference_maps
from vit_hk.explain.methods import METHODS
from vit_hk.explain.selection import spread
from vit_hk.explanation import Explainer
from vit_hk.figures.confusion import draw_confusion
from vit_hk.figures.faithfulness import draw_faithfulness
from vit_hk.figures.mistakes import draw_mistakes
from vit_hk.figures.per_class import draw_per_class
from vit_hk.figures.saving import save_figure
from vit_hk.inference import make_predictor
from vit_hk.memory import check_prediction_fits, enough_memory
from vit_hk.model.vit import make_model
from vit_hk.params import load_params
from vit_hk.timing import record_timing
from vit_hk.weights import WeightsInfo, load_weights

DATASET = Path("data/dataset.npz")
WEIGHTS = Path("models/vit.safetensors")
METRICS = Path("results/metrics.json")
PER_CLASS = Path("results/per_class.csv")
CONFUSION = Path("results/confusion.csv")
FAITHFULNESS = Path("results/faithfulness.csv")
TIMING = Path("results/timing.json")
FIGURES = Path("results")
NUM_MISTAKES = 24
RANDOM_ORDER_SEED = 0  # fixed, so that all experiments are measured against the same order


@enough_memory("evaluate.batch_size")
def main() -> None:
    """params.yaml: evaluate; data/dataset.npz, models/vit.safetensors -> metrics, tables, PNGs."""
    params = load_params()
    check_writable(METRICS, PER_CLASS, CONFUSION, FAITHFULNESS, TIMING)
    dataset = load_dataset(DATASET)
    select_device(params.train.platform)
    weights, info = load_weights(WEIGHTS, params.model, dataset)
    model = make_model(info.model, dataset.num_classes)
    batch_size = min(params.evaluate.batch_size, len(dataset.x_test))
    division = divide_for_prediction(batch_size, info.num_tokens)
    check_prediction_fits(info.model, info.num_patches, division)
    predict = make_predictor(model, info.mean, info.std, division)

    predict(weights, dataset.x_test[:1])  # compiles
    started = time.perf_counter()
    logits = predict(weights, dataset.x_test)
    seconds = time.perf_counter() - started

    _, aside = stratified_split(dataset.y_train, info.validation_fraction, info.seed)
    validation = predict(weights, dataset.x_train[aside])
    count = max(1, round(params.evaluate.faithfulness_share * len(logits)))
    chosen = spread(count, len(logits))
    images, classes = dataset.x_test[chosen], logits[chosen].argmax(axis=-1)
    maps = Explainer(model, weights, info, params.attention).maps(images, classes)
    references = reference_maps(images, info.grid, RANDOM_ORDER_SEED)
    methods = [*METHODS, *references]
    tested = faithfulness(
        lambda changed: predict(weights, changed),
        images,
        dataset.x_train.mean(axis=0).round().astype(np.uint8),
        np.stack([*maps, *references.values()]),
        classes,
        info.grid,
    )
    # Adding 0 takes the minus from a rounded -0.0.
    scores = dict(zip(methods, (tested.score.round(4) + 0.0).tolist(), strict=True))
    write_metrics(info, logits, dataset.y_test, validation, dataset.y_train[aside], scores)
    predictions = logits.argmax(axis=-1)
    table = per_class_table(dataset.y_test, predictions, list(dataset.class_names))
    write_tables(dataset, predictions, table)
    curves = write_faithfulness(methods, tested)
    draw(dataset, logits, table)
    save_figure(draw_faithfulness(curves, len(images)), FIGURES / "faithfulness.png")
    record_timing(
        TIMING, "evaluate", {"seconds": seconds, "images_per_second": len(logits) / seconds}
    )


def write_metrics(
    info: WeightsInfo,
    test_logits: np.ndarray,
    test_labels: np.ndarray,
    validation_logits: np.ndarray,
    validation_labels: np.ndarray,
    faithfulness_scores: dict[str, float],
) -> None:
    """Write results/metrics.json."""
    validation = summarize(validation_logits, validation_labels)
    metrics = {
        "data": info.data,
        "source": info.source,
        "test": summarize(test_logits, test_labels),
        "validation": {name: validation[name] for name in ("accuracy", "loss", "examples")},
        "faithfulness": faithfulness_scores,
    }
    with replacing(METRICS) as temporary:
        text = json.dumps(metrics, indent=2, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", "utf-8")
    print(f"{METRICS}: {json.dumps(metrics['test'])}")


def write_tables(dataset: Dataset, predictions: np.ndarray, per_class: pd.DataFrame) -> None:
    """Write results/per_class.csv and results/confusion.csv."""
    names = list(dataset.class_names)
    with replacing(PER_CLASS) as temporary:
        per_class.to_csv(temporary, index=False)
    rows = {
        "actual": [names[label] for label in dataset.y_test],
        "predicted": [names[label] for label in predictions],
    }
    with replacing(CONFUSION) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)


def write_faithfulness(methods: list[str], tested: Faithfulness) -> pd.DataFrame:
    """Write results/faithfulness.csv, a row for each point of each curve, and return it."""
    points = len(tested.shares)
    table = pd.DataFrame(
        {
            "method": np.repeat(methods, points),
            "share": np.tile(tested.shares, len(methods)),
            "deletion": tested.deletion.ravel(),
            "insertion": tested.insertion.ravel(),
        }
    ).round(6)
    with replacing(FAITHFULNESS) as temporary:
        table.to_csv(temporary, index=False)
    return table


def draw(dataset: Dataset, logits: np.ndarray, per_class: pd.DataFrame) -> None:
    """Write the confusion matrix, the scores a class and the most confident mistakes as PNG."""
    names = list(dataset.class_names)
    predictions, probabilities = logits.argmax(axis=-1), softmax(logits)
    counts = confusion_counts(dataset.y_test, predictions, dataset.num_classes)
    mistakes = most_confident_mistakes(probabilities, dataset.y_test, NUM_MISTAKES)
    save_figure(draw_confusion(counts, names), FIGURES / "confusion.png")
    save_figure(draw_per_class(per_class), FIGURES / "per_class.png")
    figure = draw_mistakes(
        dataset.x_test[mistakes],
        actual=[names[label] for label in dataset.y_test[mistakes]],
        predicted=[names[label] for label in predictions[mistakes]],
        confidence=probabilities[mistakes].max(axis=-1),
        indices=mistakes,
    )
    save_figure(figure, FIGURES / "mistakes.png")


if __name__ == "__main__":
    with one_line_errors():
        main()
