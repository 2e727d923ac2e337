"""The choice of test images whose attention the page computes."""

import numpy as np
import pytest

from vit_hk.data.dataset import Dataset
from vit_hk.report.explorer_images import choose_further_images

ROOM = 8


@pytest.fixture(autouse=True)
def small_room(monkeypatch):
    monkeypatch.setattr("vit_hk.report.explorer_images.MAX_IMAGES", ROOM)


def choose(num_wrong: int, num_correct: int, stored: tuple[int, ...] = ()) -> list[int]:
    """Choose of test images of one class, of which the first ones are predicted as another."""
    count = num_wrong + num_correct
    labels, images = np.zeros(count, np.int32), np.zeros((count, 1, 1, 1), np.uint8)
    dataset = Dataset(images, labels, images, labels, "mnist", "a test", ("a", "b"))
    predictions = (np.arange(count) < num_wrong).astype(int)
    return choose_further_images(dataset, predictions, np.array(stored, int))


@pytest.mark.parametrize(
    ("num_wrong", "num_correct", "expected"),
    [
        (20, 20, [0, 1, 2, 3, 4, 5, 20, 21]),  # a quarter of eight places is for correct ones
        (20, 1, [0, 1, 2, 3, 4, 5, 6, 20]),  # as many as there are
        (20, 0, [0, 1, 2, 3, 4, 5, 6, 7]),
        (2, 20, [0, 1, 2, 3, 4, 5, 6, 7]),  # what mistakes do not need is for correct ones too
        (1, 1, [0, 1]),
    ],
)
def test_many_mistakes_leave_room_for_correct_images(num_wrong, num_correct, expected):
    assert choose(num_wrong, num_correct) == expected


def test_images_that_the_explorer_has_anyway_are_left_out():
    assert choose(3, 3, stored=(0, 4)) == [1, 2, 3, 5]
