"""Draw the figures of a run and gather settings, results and figures in one HTML page."""

from stages import paths, run_stage
from vit_hk.atomic import check_writable, replacing
from vit_hk.data.dataset import SAMPLE_SOURCE, load_dataset
from vit_hk.errors import UserError
from vit_hk.figures.confusion import shade_mistakes
from vit_hk.figures.fonts import choose_fonts
from vit_hk.metrics import confusion_matrix
from vit_hk.params import load_config
from vit_hk.report.attention_arrays import read_attention_arrays
from vit_hk.report.attention_moments import read_attention_moments
from vit_hk.report.captions import read_gallery
from vit_hk.report.class_names import find_numbered, shorten_class_name
from vit_hk.report.class_scores import add_intervals
from vit_hk.report.corruptions import read_corruptions
from vit_hk.report.explorer import make_explorer
from vit_hk.report.faithfulness import read_faithfulness, score_errors
from vit_hk.report.figures import draw_figures
from vit_hk.report.history import make_charts, read_history
from vit_hk.report.metrics import read_metrics
from vit_hk.report.mistakes import MATRIX_CLASSES, collect_mistakes
from vit_hk.report.page import render_page_with_model
from vit_hk.report.panels.all_panels import make_panels
from vit_hk.report.per_class import read_per_class
from vit_hk.report.predictions import read_predictions
from vit_hk.report.settings import compare_with_defaults
from vit_hk.report.snapshots import read_snapshots
from vit_hk.report.versions import installed_versions
from vit_hk.report.weights_file import read_weights_file


def main() -> None:
    """Read settings, data and results; write results/figures/ and results/report.html."""
    config = load_config()
    check_writable(paths.REPORT, paths.FIGURES / "curves.png")
    dataset = load_dataset(paths.DATASET)
    weights = read_weights_file(paths.WEIGHTS, config.model, dataset)
    if weights.info.is_imported:
        raise UserError(
            f"{paths.WEIGHTS} is {weights.info.source}, and the report is about a training; your "
            "own weights and results come back with: git checkout HEAD -- results && dvc checkout "
            "--force"
        )
    if weights.read_border_range() is None:
        raise UserError(
            f"{paths.WEIGHTS} lacks the calibration that train adds; make it again with: dvc repro "
            "--force --single-item train"
        )
    history = read_history(paths.HISTORY, config.train.epochs)
    snapshots = read_snapshots(paths.SNAPSHOTS, config.model, dataset)
    metrics = read_metrics(paths.METRICS)
    predictions = read_predictions(paths.PREDICTIONS, dataset)
    per_class = add_intervals(
        read_per_class(paths.PER_CLASS, dataset), dataset.y_test, predictions.classes
    )
    faithfulness = read_faithfulness(
        paths.FAITHFULNESS, config.model.num_patches(dataset.image_shape)
    )
    corruptions = read_corruptions(paths.CORRUPTIONS, config.evaluate.corruptions)
    attention = read_attention_arrays(paths.ATTENTION_ARRAYS, config.model, dataset)
    moments = read_attention_moments(paths.MEAN_ATTENTION, config.model, dataset)
    names_in_figures = choose_fonts(dataset.class_names)
    draw_figures(
        paths.FIGURES,
        config,
        dataset,
        names_in_figures,
        history=history,
        snapshots=snapshots,
        predictions=predictions,
        per_class=per_class,
        faithfulness=faithfulness,
        corruptions=corruptions,
    )
    confusion = confusion_matrix(dataset.y_test, predictions.classes, dataset.num_classes)
    page = render_page_with_model(
        weights,
        config.attention,
        data=dataset.name,
        source=dataset.source,
        is_sample=dataset.source == SAMPLE_SOURCE,
        image_shape=dataset.image_shape,
        class_names=[shorten_class_name(name) for name in dataset.class_names],
        numbered_classes=find_numbered(dataset.class_names, names_in_figures),
        num_training_images=len(dataset.x_train) - metrics.validation.examples,
        settings=compare_with_defaults(config, load_config(paths.DEFAULT_PARAMS)),
        versions=installed_versions(),
        num_parameters=weights.num_parameters,
        weights_digest=weights.digest,
        metrics=metrics,
        history=history,
        charts=make_charts(history),
        confusion=confusion,
        has_matrix=dataset.num_classes <= MATRIX_CLASSES,
        confusion_shades=shade_mistakes(confusion),
        mistakes=collect_mistakes(dataset, predictions.classes),
        per_class=per_class,
        num_explorer_images=len(attention.indices),
        explorer=make_explorer(
            attention,
            dataset,
            predictions,
            config.model,
            metrics.faithfulness,
            score_errors(faithfulness),
        ),
        panels=make_panels(config.model, dataset, predictions, weights, snapshots, moments),
        gallery=read_gallery(paths.ATTENTION, paths.FIGURES),
        paths=paths,
    )
    with replacing(paths.REPORT) as temporary:
        temporary.write_text(page, "utf-8")
    print(f"{paths.REPORT}: {len(page.encode()):,} bytes")


if __name__ == "__main__":
    run_stage(main)
