"""The test images that the explorer shows beside those whose attention is stored."""

import base64
from collections.abc import Iterator

import numpy as np

from vit_hk.data.dataset import Dataset

MAX_CHARACTERS = 400_000  # of the pixels of these images
MAX_IMAGES = 400  # more would make the page slow
MIN_SHARE_CORRECT = 1 / 4  # of the room, where there are as many correct images


def encode_pixels(image: np.ndarray) -> str:
    """Return the pixels of an image, uint8 [height, width, channels], in base64."""
    return base64.b64encode(image.tobytes()).decode("ascii")


def choose_further_images(
    dataset: Dataset, predictions: np.ndarray, stored: np.ndarray
) -> list[int]:
    """Choose further test images: mistakes, then correct ones, as far as there is room.

    Many mistakes leave some of the room to correct images, with which they can be compared. Both
    are shared out in rounds, so that no pair of classes takes the room of the others.

    Args:
      dataset: holds the test images and their labels.
      predictions: int [images], predicted classes of the test images.
      stored: int [B], indices of the images that the explorer has anyway.

    Returns:
      Indices in the test set, the mistakes first.
    """
    room = min(MAX_IMAGES, MAX_CHARACTERS // len(encode_pixels(dataset.x_test[0])))
    known = np.isin(np.arange(len(predictions)), stored)
    wrong = predictions != dataset.y_test
    pairs = dataset.y_test.astype(int) * dataset.num_classes + predictions
    mistakes = list(_take_in_rounds(pairs, wrong & ~known))
    correct = list(_take_in_rounds(pairs, ~wrong & ~known))
    room_for_mistakes = room - min(len(correct), int(MIN_SHARE_CORRECT * room))
    return (mistakes[:room_for_mistakes] + correct)[:room]


def _take_in_rounds(groups: np.ndarray, is_candidate: np.ndarray) -> Iterator[int]:
    """Yield the index of one candidate of each group, then that of a second one, and so on."""
    candidates = np.flatnonzero(is_candidate)
    members = groups[candidates]
    # The position of each candidate among those of its group.
    order = np.argsort(members, kind="stable")
    starts = np.searchsorted(members[order], members[order])
    rounds = np.empty(len(candidates), int)
    rounds[order] = np.arange(len(candidates)) - starts
    yield from candidates[np.lexsort((candidates, members, rounds))].tolist()
