"""The figures of a run, drawn from the arrays and tables of `train` and `evaluate`."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from vit_hk.data.dataset import Dataset
from vit_hk.explain.patch_attention import query_name
from vit_hk.figures.confusion import draw_confusion
from vit_hk.figures.curves import draw_curves
from vit_hk.figures.faithfulness import draw_faithfulness
from vit_hk.figures.mistakes import draw_mistakes
from vit_hk.figures.per_class import draw_per_class
from vit_hk.figures.saving import save_figure
from vit_hk.figures.snapshots import draw_snapshots
from vit_hk.metrics import confusion_counts
from vit_hk.params import ModelSettings, Params
from vit_hk.report.predictions import Predictions
from vit_hk.report.snapshots import Snapshots

MAX_MISTAKES = 24  # four rows of six images


def draw_figures(
    folder: Path,
    params: Params,
    dataset: Dataset,
    *,
    history: pd.DataFrame,
    snapshots: Snapshots,
    predictions: Predictions,
    per_class: pd.DataFrame,
    faithfulness: pd.DataFrame,
) -> None:
    """Write the figures of a run as PNG files into a folder.

    Raises:
      UserError: the file system refuses.
    """
    save_figure(draw_curves(history), folder / "curves.png")
    save_figure(snapshots_figure(snapshots, params.model, dataset), folder / "snapshots.png")
    save_figure(confusion_figure(dataset, predictions), folder / "confusion.png")
    save_figure(draw_per_class(per_class), folder / "per_class.png")
    save_figure(mistakes_figure(dataset, predictions), folder / "mistakes.png")
    num_images = max(1, round(params.evaluate.faithfulness_share * len(dataset.x_test)))
    save_figure(draw_faithfulness(faithfulness, num_images), folder / "faithfulness.png")


def snapshots_figure(snapshots: Snapshots, model: ModelSettings, dataset: Dataset) -> Figure:
    """Draw the last layer's attention, averaged over heads, at each recorded epoch."""
    names = dataset.class_names
    maps = snapshots.attention[:, -1].mean(axis=2)  # [S, B, N]
    guesses = [
        [f"{names[p.argmax()]} ({100 * p.max():.0f} %)" for p in probabilities]
        for probabilities in snapshots.probabilities
    ]
    return draw_snapshots(
        snapshots.images,
        maps.reshape(*maps.shape[:-1], *model.grid(dataset.image_shape)),
        snapshots.epochs.tolist(),
        [names[label] for label in snapshots.labels],
        guesses,
        query_name(model.pool),
    )


def confusion_figure(dataset: Dataset, predictions: Predictions) -> Figure:
    """Draw the confusion matrix of the test images."""
    counts = confusion_counts(dataset.y_test, predictions.classes, dataset.num_classes)
    return draw_confusion(counts, list(dataset.class_names))


def mistakes_figure(dataset: Dataset, predictions: Predictions) -> Figure:
    """Draw the most confident mistakes on test images, by falling confidence."""
    names, labels = dataset.class_names, dataset.y_test
    wrong = np.flatnonzero(predictions.classes != labels)
    order = np.argsort(-predictions.confidence[wrong], kind="stable")
    indices = wrong[order][:MAX_MISTAKES]
    return draw_mistakes(
        dataset.x_test[indices],
        actual=[names[label] for label in labels[indices]],
        predicted=[names[number] for number in predictions.classes[indices]],
        confidence=predictions.confidence[indices],
        indices=indices,
    )
