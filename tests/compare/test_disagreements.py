"""The list of test images on which two runs disagree."""

import numpy as np
import pandas as pd
import pytest

from vit_hk.compare.disagreements import list_disagreements
from vit_hk.report.pictures import thumbnail_url


def predictions(probabilities: list[float], predicted: str) -> pd.DataFrame:
    """Return predictions of images of the class `a`."""
    return pd.DataFrame({"actual": "a", "predicted": predicted, "probability": probabilities})


@pytest.fixture
def runs() -> tuple[pd.DataFrame, pd.DataFrame]:
    """A run that is right about three images, and one that is wrong about them."""
    return predictions([0.9, 0.9, 0.9], "a"), predictions([0.6, 0.8, 0.7], "b")


def test_images_are_listed_by_falling_probability_of_the_mistake(runs):
    found = list_disagreements(*runs, images=None)
    assert [(image.index, image.probability) for image in found] == [(1, 0.8), (2, 0.7), (0, 0.6)]
    assert {(image.actual, image.mistaken, image.picture) for image in found} == {("a", "b", "")}
    assert list_disagreements(runs[1], runs[0], images=None) == []


def test_a_picture_without_room_leaves_its_image_and_the_next_pictures(runs, monkeypatch):
    images = np.zeros((3, 64, 64, 1), np.uint8)
    images[1] = np.random.default_rng(0).integers(0, 256, (64, 64, 1))  # a PNG of it is large
    small = len(thumbnail_url(images[0]))
    assert len(thumbnail_url(images[1])) > 2 * small
    monkeypatch.setattr("vit_hk.compare.disagreements.MAX_CHARACTERS", 2 * small)
    found = list_disagreements(*runs, images)
    assert [image.index for image in found] == [1, 2, 0]
    assert [bool(image.picture) for image in found] == [False, True, True]


def test_the_list_has_an_end(runs, monkeypatch):
    monkeypatch.setattr("vit_hk.compare.disagreements.MAX_LISTED", 2)
    assert [image.index for image in list_disagreements(*runs, images=None)] == [1, 2]
