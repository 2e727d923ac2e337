"""Which classes are taken for which, and the images of it."""

import dataclasses
from pathlib import Path

import numpy as np

from vit_hk.dataset import Dataset
from vit_hk.evaluation import confusion_counts
from vit_hk.report.pictures import image_url
from vit_hk.report.reading import read_table, readable

MOST_SHOWN = 400_000  # characters of all pictures of mistakes
MOST_IN_A_PAIR = 24  # pictures
MOST_PAIRS = 900  # of classes; as many as 30 classes can have


@dataclasses.dataclass(frozen=True)
class Mistakes:
    """The images of one class that were taken for one other.

    Attributes:
      actual, predicted: classes.
      count: of all such images.
      images: test image and address of its picture, of those that are shown.
    """

    actual: int
    predicted: int
    count: int
    images: list[tuple[int, str]]

    @property
    def pair(self) -> tuple[int, int]:
        """Both classes."""
        return self.actual, self.predicted


def read_predictions(path: Path, dataset: Dataset) -> np.ndarray:
    """Int [N], the class that each test image was taken for.

    Raises:
      UserError: the file is missing or damaged, or is not about these test images.
    """
    table = read_table(path, "evaluate", ["actual", "predicted"], [])
    numbers = {name: number for number, name in enumerate(dataset.class_names)}
    with readable(path, "evaluate"):
        actual = [dataset.class_names[label] for label in dataset.y_test]
        if table["actual"].tolist() != actual:
            raise ValueError("not the classes of the test images of the data set")
        if unknown := set(table["predicted"]) - set(numbers):
            raise ValueError(f"a class {min(unknown)!r}, which the data set does not have")
        return table["predicted"].map(numbers).to_numpy()


def confusion_matrix(dataset: Dataset, predictions: np.ndarray) -> np.ndarray:
    """Int [C, C]: row actual, column predicted."""
    return confusion_counts(dataset.y_test, predictions, dataset.num_classes)


def collect_mistakes(dataset: Dataset, predictions: np.ndarray) -> list[Mistakes]:
    """All pairs of classes that are confused, the most frequent first.

    The pairs take turns, so that each shows some images before one shows all of its own.
    """
    counts = confusion_matrix(dataset, predictions)
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[: np.count_nonzero(counts)]
    pairs = [divmod(int(cell), dataset.num_classes) for cell in order[:MOST_PAIRS]]
    members = [np.flatnonzero((dataset.y_test == a) & (predictions == p)) for a, p in pairs]
    shown: list[list[tuple[int, str]]] = [[] for _ in pairs]
    room = MOST_SHOWN
    for turn in range(MOST_IN_A_PAIR):
        for number, indices in enumerate(members):
            if turn < len(indices) and room > 0:
                picture = image_url(dataset.x_test[indices[turn]])
                room -= len(picture)
                if room > 0:
                    shown[number].append((int(indices[turn]), picture))
    return [
        Mistakes(actual, predicted, len(indices), images)
        for (actual, predicted), indices, images in zip(pairs, members, shown, strict=True)
    ]
