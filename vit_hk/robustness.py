"""Accuracy on corrupted images."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from vit_hk.data.corruptions import CORRUPTIONS, MAX_SEVERITY, CorruptedImages
from vit_hk.data.image_rows import ImageArray


def measure_corruptions(
    predict: Callable[[ImageArray], np.ndarray],
    images: ImageArray,
    labels: np.ndarray,
    names: Sequence[str],
) -> pd.DataFrame:
    """Measure the accuracy on the same images with each corruption in each severity.

    Args:
      predict: function from uint8 images [images, height, width, channels] to logits [images, C].
      images: uint8 [N, height, width, channels].
      labels: int [N].
      names: keys of CORRUPTIONS.

    Returns:
      A row for each corruption and severity, from 0, the images as they are. `strength` is in
      `unit`, and `measure` says of what; `standard_error` is that of `accuracy` over the images,
      and `mean_error` that of the mean accuracy over the severities from 1, the same in all rows of
      a corruption. `examples` is N.
    """

    def are_correct(images: ImageArray) -> np.ndarray:
        return predict(images).argmax(axis=-1) == labels

    as_they_are = are_correct(images)
    tables = []
    for name in names:
        corrupted = [
            are_correct(CorruptedImages(images, name, severity))
            for severity in range(1, MAX_SEVERITY + 1)
        ]
        tables.append(_rows(name, images.shape[1:], np.stack([as_they_are, *corrupted])))
    return pd.concat(tables, ignore_index=True).round(6)


def _rows(name: str, image_shape: tuple[int, ...], correct: np.ndarray) -> pd.DataFrame:
    """Return the rows of a corruption from bool [severities, N], whether images are right."""
    corruption = CORRUPTIONS[name]
    severities = range(len(correct))
    return pd.DataFrame(
        {
            "corruption": name,
            "severity": severities,
            "measure": corruption.measure,
            "strength": [corruption.strength(severity, image_shape) for severity in severities],
            "unit": corruption.unit,
            "accuracy": correct.mean(axis=1),
            "standard_error": _standard_error(correct),
            "mean_error": _standard_error(correct[1:].mean(axis=0)),
            "examples": correct.shape[1],
        }
    )


def _standard_error(values: np.ndarray) -> np.ndarray:
    """Return the standard error of the mean of [..., N] over N images; of a single image it is 0.

    It divides by N, as the standard error of a share does: sqrt(p (1 - p) / N).
    """
    return values.std(axis=-1) / np.sqrt(values.shape[-1])


def mean_accuracies(table: pd.DataFrame) -> dict[str, float]:
    """Return the accuracy of each corruption, averaged over its severities from 1, and their mean.

    Args:
      table: what `measure_corruptions` returns.
    """
    of_severities = table[table["severity"] > 0].groupby("corruption", sort=False)["accuracy"]
    means = {str(name): float(mean) for name, mean in of_severities.mean().items()}
    overall = {"mean": sum(means.values()) / len(means)}
    return {name: round(mean, 6) for name, mean in (overall | means).items()}
