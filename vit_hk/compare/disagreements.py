"""The test images that one run classifies correctly and the other does not."""

import dataclasses

import numpy as np
import pandas as pd

from vit_hk.compare.run import Run, named_errors
from vit_hk.compare.sources import PREDICTIONS
from vit_hk.report.class_names import shorten_class_name
from vit_hk.report.pictures import thumbnail_url
from vit_hk.report.predictions import read_predictions

MAX_LISTED = 36  # images of each of both lists
MAX_CHARACTERS = 250_000  # of the pictures of each list


@dataclasses.dataclass(frozen=True)
class Disagreement:
    """A test image that only one run classifies correctly.

    Attributes:
      index: position in the test set.
      actual: true class, which one run predicts.
      mistaken: class that the other run predicts.
      probability: of that class.
      picture: data URL of the image; empty where the data set is missing, or the page has no room.
    """

    index: int
    actual: str
    mistaken: str
    probability: float
    picture: str


def list_disagreements(
    right: pd.DataFrame, wrong: pd.DataFrame, images: np.ndarray | None
) -> list[Disagreement]:
    """List images that one run classifies correctly and the other does not.

    Args:
      right: predictions of the run that is correct.
      wrong: those of the other run, for the same images.
      images: all test images, uint8 [N, height, width, channels]; None where they are missing.

    Returns:
      At most MAX_LISTED images, by falling probability of the mistake; some may have no picture.
    """
    rows = np.flatnonzero(is_right(right) & ~is_right(wrong))
    order = np.argsort(-wrong["probability"].to_numpy()[rows], kind="stable")
    listed, budget = [], MAX_CHARACTERS
    for row in rows[order][:MAX_LISTED].tolist():
        picture = "" if images is None else thumbnail_url(images[row])
        if len(picture) > budget:
            picture = ""
        budget -= len(picture)
        actual, mistaken = right["actual"][row], wrong["predicted"][row]
        listed.append(
            Disagreement(
                row, shorten_class_name(actual), shorten_class_name(mistaken),
                float(wrong["probability"][row]), picture,
            )
        )  # fmt: skip
    return listed


def read_test_images(run: Run) -> np.ndarray | None:
    """Read the test images of a run, uint8 [N, height, width, channels]; None where it lacks them.

    Raises:
      UserError: the data set is damaged, or is not that of the run's predictions.
    """
    dataset = run.dataset
    if dataset is None:
        return None
    with named_errors(run.files):
        read_predictions(run.files.folder / PREDICTIONS, dataset)  # compares them with the images
    return dataset.x_test


def is_right(predictions: pd.DataFrame) -> np.ndarray:
    """Return whether each prediction is correct, bool [N]."""
    return (predictions["actual"] == predictions["predicted"]).to_numpy()
