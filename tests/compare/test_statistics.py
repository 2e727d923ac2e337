import math

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score

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


def test_resampled_errors_agree_with_repeated_test_sets():
    # The standard deviation over many independent test sets is what the bootstrap estimates.
    def difference(seed: int) -> float:
        a, b = predictions(seed, 0.9), predictions(seed + 10_000, 0.8)
        scores = [balanced_accuracy_score(t["actual"], t["predicted"]) for t in (a, b)]
        return scores[1] - scores[0]

    expected = np.std([difference(seed) for seed in range(150)], ddof=1)
    found = resampled_errors(predictions(1, 0.9), predictions(10_001, 0.8))
    assert found["balanced_accuracy"] == pytest.approx(expected, rel=0.2)
    assert set(found) == {"balanced_accuracy", "macro_f1", "calibration_error"}


def test_resampled_errors_are_0_for_equal_runs_and_the_same_in_each_call():
    a, b = predictions(1, 0.9, 60), predictions(2, 0.8, 60)
    assert resampled_errors(a, b) == resampled_errors(a, b)
    assert set(resampled_errors(a, a).values()) == {0.0}
