"""The table of predictions of the stage `evaluate`, checked against the test images."""

import dataclasses
from pathlib import Path

import numpy as np

from vit_hk.data.dataset import Dataset
from vit_hk.report.reading import read_table, user_error_if_damaged


@dataclasses.dataclass(frozen=True)
class Predictions:
    """The predictions for all test images, in the order of the test set.

    Attributes:
      classes: int [N], predicted classes.
      confidence: float [N], probability of the predicted class.
    """

    classes: np.ndarray
    confidence: np.ndarray


def read_predictions(path: Path, dataset: Dataset) -> Predictions:
    """Read the predictions and check them against the test images.

    Raises:
      UserError: the file is missing or damaged, or is not about these test images.
    """
    table = read_table(path, "evaluate", ["actual", "predicted"], ["index", "probability"])
    class_numbers = {name: number for number, name in enumerate(dataset.class_names)}
    with user_error_if_damaged(path, "evaluate"):
        if table["index"].tolist() != list(range(len(dataset.y_test))):
            raise ValueError("not one row for each test image of the data set")
        if table["actual"].tolist() != [dataset.class_names[label] for label in dataset.y_test]:
            raise ValueError("not the classes of the test images of the data set")
        if unknown := set(table["predicted"]) - set(class_numbers):
            raise ValueError(f"class {min(unknown)!r}, which the data set does not have")
        confidence = table["probability"].to_numpy()
        if not ((confidence >= 0) & (confidence <= 1)).all():
            raise ValueError("a probability that is not between 0 and 1")
        return Predictions(table["predicted"].map(class_numbers).to_numpy(), confidence)
