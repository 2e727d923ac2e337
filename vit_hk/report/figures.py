"""The figures of a run, drawn from the arrays and tables of `train` and `evaluate`."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from vit_hk.data.corruptions import MAX_SEVERITY, CorruptedImages
from vit_hk.data.dataset import Dataset
from vit_hk.explain.patch_attention import query_name
from vit_hk.figures.confusion import draw_confusion
from vit_hk.figures.corruptions import draw_corruptions
from vit_hk.figures.curves import draw_curves
from vit_hk.figures.faithfulness import draw_faithfulness
from vit_hk.figures.mistakes import draw_mistakes
from vit_hk.figures.overview import count_breaks, draw_overview
from vit_hk.figures.per_class import draw_per_class
from vit_hk.figures.saving import remove_other_numbers, save_figure
from vit_hk.figures.snapshots import draw_snapshots
from vit_hk.metrics import confusion_matrix, most_confident_mistakes
from vit_hk.params import Config, ModelSettings
from vit_hk.report.predictions import Predictions
from vit_hk.report.snapshots import Snapshots

MAX_MISTAKES = 24  # four rows of six images


def draw_figures(
    folder: Path,
    config: Config,
    dataset: Dataset,
    class_names: list[str],
    *,
    history: pd.DataFrame,
    snapshots: Snapshots,
    predictions: Predictions,
    per_class: pd.DataFrame,
    faithfulness: pd.DataFrame,
    corruptions: pd.DataFrame,
) -> None:
    """Write the figures of a run as PNG files into a folder.

    Args:
      folder: where to write.
      config: the settings of the run.
      dataset: the images and their labels.
      class_names: names of the classes, as `choose_fonts` returns them.
      history: rows of the epochs.
      snapshots: attention during the training; a folder has a figure for each epoch too.
      predictions: predicted class of each test image.
      per_class: precision and recall of each class.
      faithfulness: deletion and insertion curves.
      corruptions: the accuracy on corrupted images.

    Raises:
      UserError: the file system refuses.
    """
    save_figure(draw_curves(history), folder / "curves.png")
    save_figure(snapshots_figure(snapshots, config.model, class_names), folder / "snapshots.png")
    for epoch, figure in snapshot_figures(snapshots, config.model, class_names).items():
        save_figure(figure, folder / "snapshots" / f"{epoch}.png")
    remove_other_numbers(folder / "snapshots", [f"{epoch}.png" for epoch in snapshots.epochs])
    save_figure(confusion_figure(dataset, predictions, class_names), folder / "confusion.png")
    save_figure(draw_per_class(per_class, class_names), folder / "per_class.png")
    save_figure(mistakes_figure(dataset, predictions, class_names), folder / "mistakes.png")
    num_images = config.evaluate.num_faithfulness_images(len(dataset.x_test))
    save_figure(draw_faithfulness(faithfulness, num_images), folder / "faithfulness.png")
    save_figure(corruptions_figure(dataset, corruptions), folder / "corruptions.png")


def snapshots_figure(snapshots: Snapshots, model: ModelSettings, class_names: list[str]) -> Figure:
    """Draw the last layer's attention, averaged over heads, at all recorded epochs."""
    predictions = snapshots.probabilities.argmax(axis=-1)  # [snapshots, B]
    return draw_snapshots(
        snapshots.images,
        _last_layer_maps(snapshots, model),
        snapshots.epochs.tolist(),
        actual=[class_names[label] for label in snapshots.labels],
        predicted=[[class_names[number] for number in numbers] for numbers in predictions],
        confidence=snapshots.probabilities.max(axis=-1),
        query_name=query_name(model.pool),
    )


def snapshot_figures(
    snapshots: Snapshots, model: ModelSettings, class_names: list[str]
) -> dict[int, Figure]:
    """Draw a figure for each recorded epoch, all on one colour scale, as frames of a sequence."""
    maps = _last_layer_maps(snapshots, model)
    predictions = snapshots.probabilities.argmax(axis=-1)  # [snapshots, B]
    pairs = [
        [
            (class_names[guess], class_names[label])
            for guess, label in zip(guesses, snapshots.labels, strict=True)
        ]
        for guesses in predictions
    ]
    # Frames of one size: titles of all of them have the lines of the longest one.
    breaks = max(count_breaks(classes) for classes in pairs)
    return {
        epoch: draw_overview(
            snapshots.images,
            maps[step],
            pairs[step],
            query_name(model.pool),
            epoch=epoch,
            max_weight=float(maps.max()),
            min_breaks=breaks,
        )
        for step, epoch in enumerate(snapshots.epochs.tolist())
    }


def _last_layer_maps(snapshots: Snapshots, model: ModelSettings) -> np.ndarray:
    """Return the last layer's attention, mean over heads, [snapshots, B, rows, columns]."""
    maps = snapshots.attention[:, -1].mean(axis=2)  # [snapshots, B, N]
    return maps.reshape(*maps.shape[:-1], *model.grid(snapshots.images.shape[1:]))


def confusion_figure(dataset: Dataset, predictions: Predictions, class_names: list[str]) -> Figure:
    """Draw the confusion matrix of the test images."""
    counts = confusion_matrix(dataset.y_test, predictions.classes, dataset.num_classes)
    return draw_confusion(counts, class_names)


def corruptions_figure(dataset: Dataset, table: pd.DataFrame) -> Figure:
    """Draw the accuracy on corrupted images, with the first test image as an example."""
    image = dataset.x_test[:1]
    examples = [
        [CorruptedImages(image, name, severity)[0:1][0] for severity in range(MAX_SEVERITY + 1)]
        for name in table["corruption"].unique()
    ]
    return draw_corruptions(table, np.array(examples))


def mistakes_figure(dataset: Dataset, predictions: Predictions, class_names: list[str]) -> Figure:
    """Draw the most confident mistakes on test images, by falling confidence."""
    labels = dataset.y_test
    mistakes = most_confident_mistakes(predictions.classes, predictions.confidence, labels)
    indices = mistakes[:MAX_MISTAKES]
    return draw_mistakes(
        dataset.x_test[indices],
        actual=[class_names[label] for label in labels[indices]],
        predicted=[class_names[number] for number in predictions.classes[indices]],
        confidence=predictions.confidence[indices],
        indices=indices,
    )
