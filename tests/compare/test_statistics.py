import math

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score

from vit_hk.compare.statistics import Pairs, count_pairs, resampled_errors, unpaired_error


def test_pairs_are_counted():
    right_a = np.array([True, True, True, False, False, True])
    right_b = np.array([True, False, False, True, False, True])
    assert count_pairs(right_a, right_b) == Pairs(both=2, only_a=2, only_b=1, neither=1)


@pytest.mark.parametrize(
    ("only_a", "only_b", "probability"),
    [
        (1, 8, 2 * (1 + 9) / 2**9),  # at most 1 of 9 coins, to either side
        (0, 5, 2 / 2**5),
        (4, 4, 1.0),
        (0, 0, 1.0),
    ],
)
def test_probability_is_that_of_coins(only_a, only_b, probability):
    assert Pairs(90, only_a, only_b, 3).probability == pytest.approx(probability)
    assert Pairs(90, only_b, only_a, 3).probability == pytest.approx(probability)


def test_standard_error_is_that_of_the_mean_of_paired_differences():
    random = np.random.default_rng(1)
    right_a, right_b = random.random((2, 500)) < [[0.9], [0.8]]
    differences = right_b.astype(float) - right_a
    expected = differences.std() / math.sqrt(500)
    assert count_pairs(right_a, right_b).standard_error == pytest.approx(expected)


def test_error_of_independent_shares():
    assert unpaired_error(0.9, 100, 0.8, 400) == pytest.approx(math.sqrt(0.09 / 100 + 0.16 / 400))


def predictions(seed: int, share: float, count: int = 600) -> pd.DataFrame:
    """Return predictions of classes a, b and c, of which about `share` are correct."""
    random = np.random.default_rng(seed)
    actual = np.arange(count) % 3
    predicted = np.where(random.random(count) < share, actual, (actual + 1) % 3)
    names = np.array(["a", "b", "c"])
    return pd.DataFrame(
        {
            "actual": names[actual],
            "predicted": names[predicted],
            "probability": random.uniform(0.4, 1, count),
        }
    )


def binned_calibration_error(is_right: pd.Series, confidence: pd.Series) -> float:
    """Return the calibration error of 15 bins of equal width, by its definition."""
    bins = np.ceil(15 * confidence)
    return float(((is_right - confidence).groupby(bins).sum().abs() / len(bins)).sum())


def test_resampled_errors_agree_with_repeated_test_sets():
    # The standard deviation over many independent test sets is what the bootstrap estimates.
    def scores(table: pd.DataFrame) -> np.ndarray:
        actual, predicted = table["actual"], table["predicted"]
        return np.array(
            [
                balanced_accuracy_score(actual, predicted),
                f1_score(actual, predicted, average="macro"),
                binned_calibration_error(actual == predicted, table["probability"]),
            ]
        )

    pairs = [(predictions(seed, 0.9), predictions(seed + 10_000, 0.8)) for seed in range(150)]
    expected = np.std([scores(b) - scores(a) for a, b in pairs], axis=0, ddof=1)
    found = resampled_errors(*pairs[1])
    assert list(found) == ["balanced_accuracy", "macro_f1", "calibration_error"]
    np.testing.assert_allclose(list(found.values()), expected, rtol=0.2)


def test_resampled_errors_are_0_for_equal_runs_and_the_same_in_each_call():
    a, b = predictions(1, 0.9, 60), predictions(2, 0.8, 60)
    assert resampled_errors(a, b) == resampled_errors(a, b)
    assert set(resampled_errors(a, a).values()) == {0.0}
