import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from vit_hk.report.class_scores import SCORES, add_intervals
from vit_hk.tables import per_class_table

# Of class 0, 7 of 9 are right; of class 1, all 3; class 2 has no image, and 2 predictions.
LABELS = np.array([0] * 9 + [1] * 3)
CLASSES = np.array([0] * 7 + [1, 2] + [1] * 3)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return add_intervals(per_class_table(LABELS, CLASSES, ["a", "b", "c"]), LABELS, CLASSES)


def test_intervals_are_those_of_the_counts(table):
    expected = {"precision": [(7, 7), (3, 4), (0, 1)], "recall": [(7, 9), (3, 3), (0, 0)]}
    for score, counts in expected.items():
        for row, (hits, total) in enumerate(counts):
            low, high = table.loc[row, [f"{score}_low", f"{score}_high"]]
            if not total:
                assert (low, high) == (0, 1)
                continue
            interval = binomtest(hits, total).proportion_ci(0.95, "wilson")
            assert (low, high) == pytest.approx((interval.low, interval.high), abs=1e-6)


def test_each_score_lies_in_its_interval(table):
    for score in SCORES:
        assert (table[f"{score}_low"] <= table[score] + 1e-6).all()
        assert (table[score] <= table[f"{score}_high"] + 1e-6).all()
