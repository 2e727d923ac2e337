"""Misclassified test images, grouped by their true and their predicted class."""

import dataclasses

import numpy as np

from vit_hk.data.dataset import Dataset
from vit_hk.metrics import confusion_matrix
from vit_hk.report.pictures import thumbnail_url

MAX_CHARACTERS = 400_000  # of the data URLs of all pictures
MAX_PER_PAIR = 24  # pictures
MATRIX_CLASSES = 30  # of more, the page has a list of pairs instead of the confusion matrix
MAX_LISTED = 100  # pairs


@dataclasses.dataclass(frozen=True)
class Mistakes:
    """All test images of one class that the model predicts as one other class.

    Attributes:
      actual: true class.
      predicted: predicted class.
      count: number of these images.
      images: index in the test set and data URL of each image that the page shows.
    """

    actual: int
    predicted: int
    count: int
    images: list[tuple[int, str]]

    @property
    def pair(self) -> tuple[int, int]:
        """The true and the predicted class."""
        return self.actual, self.predicted


def collect_mistakes(dataset: Dataset, predictions: np.ndarray) -> list[Mistakes]:
    """Group mistakes by pairs of true and predicted class, the most frequent pair first.

    Of more than MATRIX_CLASSES classes, only the MAX_LISTED most frequent pairs are returned.
    Pictures are shared out in rounds, one picture a pair in each round, so that each pair shows
    some pictures before one pair shows all of its own.

    Args:
      dataset: holds the test images and their labels.
      predictions: int [N], predicted classes of the test images.
    """
    counts = confusion_matrix(dataset.y_test, predictions, dataset.num_classes)
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[: np.count_nonzero(counts)]
    if dataset.num_classes > MATRIX_CLASSES:
        order = order[:MAX_LISTED]
    pairs = [divmod(int(cell), dataset.num_classes) for cell in order]
    members = [np.flatnonzero((dataset.y_test == a) & (predictions == p)) for a, p in pairs]
    shown: list[list[tuple[int, str]]] = [[] for _ in pairs]
    budget = MAX_CHARACTERS
    for round_number in range(MAX_PER_PAIR):
        budget_before = budget
        for pair_number, indices in enumerate(members):
            if round_number < len(indices):
                index = int(indices[round_number])
                url = thumbnail_url(dataset.x_test[index])
                if len(url) <= budget:
                    shown[pair_number].append((index, url))
                    budget -= len(url)
        if budget == budget_before:
            break  # further rounds would take long, and hardly find a picture that fits
    return [
        Mistakes(actual, predicted, len(indices), images)
        for (actual, predicted), indices, images in zip(pairs, members, shown, strict=True)
    ]
