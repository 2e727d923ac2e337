import numpy as np
import pytest
from scipy.stats import binomtest

from vit_hk.report.intervals import f1_interval, wilson_interval


@pytest.mark.parametrize(("hits", "total"), [(0, 1), (1, 1), (3, 10), (9_808, 9_900), (0, 500)])
def test_wilson_interval_agrees_with_scipy(hits, total):
    interval = wilson_interval(np.array(hits), np.array(total))
    expected = binomtest(hits, total).proportion_ci(0.95, "wilson")
    np.testing.assert_allclose(interval, expected, rtol=1e-6, atol=1e-12)


def test_nothing_is_known_of_a_share_of_no_images():
    assert [float(end) for end in wilson_interval(np.array(0), np.array(0))] == [0, 1]


def test_f1_interval_is_that_of_the_jaccard_index():
    # 8 hits, 2 images of other classes, 5 missed: J = 8 / 15 and F1 = 16 / 23.
    low, high = f1_interval(np.array([8]), np.array([10]), np.array([13]))
    jaccard = binomtest(8, 15).proportion_ci(0.95, "wilson")
    assert low[0] == pytest.approx(2 * jaccard.low / (1 + jaccard.low), rel=1e-6)
    assert high[0] == pytest.approx(2 * jaccard.high / (1 + jaccard.high), rel=1e-6)
    assert low[0] < 16 / 23 < high[0]


def test_f1_interval_covers_the_true_f1_about_as_often_as_it_claims():
    random = np.random.default_rng(0)
    # 200 images of the class and 800 others; 180 and 40 of them are expected to be predicted as it.
    hits, wrong = random.binomial(200, 0.9, 4000), random.binomial(800, 0.05, 4000)
    low, high = f1_interval(hits, hits + wrong, np.full(4000, 200))
    true_f1 = 2 * 180 / (220 + 200)
    assert 0.94 < ((low <= true_f1) & (true_f1 <= high)).mean() <= 1
