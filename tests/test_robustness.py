import numpy as np
import pandas as pd
import pytest
from scipy.stats import sem
from sklearn.metrics import accuracy_score

from vit_hk.data.corruptions import CorruptedImages
from vit_hk.robustness import mean_accuracies, measure_corruptions

LABELS = np.array([0, 1] * 10)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Return dark images of class 0 and bright ones of class 1, some of them hard to tell."""
    noise = np.random.default_rng(0).integers(0, 60, (20, 14, 14, 1))
    return (60 + 60 * LABELS[:, None, None, None] + noise).astype(np.uint8)


def is_bright(images) -> np.ndarray:
    """Return logits [images, 2] of a model that calls a mean of more than 115 bright."""
    return np.stack([np.full(len(images), 115), images[:].mean(axis=(1, 2, 3))], axis=1)


@pytest.fixture(scope="module")
def table(images) -> pd.DataFrame:
    return measure_corruptions(is_bright, images, LABELS, ["brightness", "translate"])


def test_accuracies_and_errors_are_those_of_the_corrupted_images(table, images):
    assert table["corruption"].tolist() == ["brightness"] * 5 + ["translate"] * 5
    assert table["severity"].tolist() == [*range(5), *range(5)]
    for name, rows in table.groupby("corruption"):
        correct = []
        for row in rows.itertuples():
            predicted = is_bright(CorruptedImages(images, name, row.severity)).argmax(axis=1)
            assert row.accuracy == pytest.approx(accuracy_score(LABELS, predicted), abs=1e-6)
            correct.append(predicted == LABELS)
            assert row.standard_error == pytest.approx(sem(correct[-1], ddof=0), abs=1e-6)
        means = np.mean(correct[1:], axis=0)  # of each image
        assert rows["mean_error"].tolist() == pytest.approx([sem(means, ddof=0)] * 5, abs=1e-6)
    assert table["accuracy"].nunique() > 3
    assert (table["examples"] == 20).all()


def test_strengths_have_units(table):
    first, last = table.iloc[1], table.iloc[-1]
    assert (first["strength"], first["unit"], first["measure"]) == (5, "%", "added")
    # 8 pixels of 28 are 4 of 14.
    assert (last["strength"], last["unit"], last["measure"]) == (4, "px", "distance")


def test_means_are_over_the_corrupted_images_alone():
    table = pd.DataFrame(
        {
            "corruption": ["thin", "thin", "thin", "brightness", "brightness", "brightness"],
            "severity": [0, 1, 2, 0, 1, 2],
            "accuracy": [1.0, 0.8, 0.4, 1.0, 0.5, 0.3],
        }
    )
    assert mean_accuracies(table) == {"mean": 0.5, "thin": 0.6, "brightness": 0.4}
    assert list(mean_accuracies(table)) == ["mean", "thin", "brightness"]
