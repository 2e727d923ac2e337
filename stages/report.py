"""Gather settings, results and explanations of a run in one page."""

import dataclasses
from pathlib import Path

from vit_hk.atomic import check_writable, replacing
from vit_hk.dataset import SAMPLE_SOURCE, load_dataset
from vit_hk.errors import one_line_errors
from vit_hk.params import load_params
from vit_hk.report.confusion import collect_mistakes, confusion_matrix, read_predictions
from vit_hk.report.explained import read_explained
from vit_hk.report.explorer import make_explorer
from vit_hk.report.gallery import read_figures
from vit_hk.report.history import draw_history, read_history
from vit_hk.report.metrics import read_metrics
from vit_hk.report.page import render_page, shorten
from vit_hk.report.per_class import read_per_class
from vit_hk.report.settings import compare_with_shipped
from vit_hk.report.trained_model import count_stored_parameters
from vit_hk.report.versions import installed_versions

DATASET = Path("data/dataset.npz")
WEIGHTS = Path("models/vit.safetensors")
HISTORY = Path("results/history.csv")
METRICS = Path("results/metrics.json")
PER_CLASS = Path("results/per_class.csv")
CONFUSION = Path("results/confusion.csv")
ATTENTION = Path("results/attention/attention.npz")
REPORT = Path("results/report.html")


def main() -> None:
    """params.yaml, data, weights and results of the other stages -> results/report.html."""
    params = load_params()
    check_writable(REPORT)
    dataset = load_dataset(DATASET)
    parameters = count_stored_parameters(WEIGHTS, params.model, dataset)
    metrics = read_metrics(METRICS)
    predictions = read_predictions(CONFUSION, dataset)
    explained = read_explained(ATTENTION, params.model, dataset)
    history = read_history(HISTORY)
    page = render_page(
        data=dataset.name,
        source=dataset.source,
        is_sample=dataset.source == SAMPLE_SOURCE,
        shape=dataset.image_shape,
        classes=[shorten(name) for name in dataset.class_names],
        training_images=len(dataset.x_train) - metrics.validation.examples,
        settings=compare_with_shipped(params),
        versions=installed_versions(),
        parameters=parameters,
        metrics=metrics,
        history=history,
        charts=draw_history(history),
        matrix=confusion_matrix(dataset, predictions),
        mistakes=collect_mistakes(dataset, predictions),
        per_class=read_per_class(PER_CLASS, dataset),
        explained_images=len(explained.indices),
        explorer=dataclasses.asdict(make_explorer(explained, params.model, metrics.faithfulness)),
        figures=read_figures(),
    )
    with replacing(REPORT) as temporary:
        temporary.write_text(page, "utf-8")
    print(f"{REPORT}: {len(page.encode()):,} bytes")


if __name__ == "__main__":
    with one_line_errors():
        main()
