import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from vit_hk.metrics import calibration_error
from vit_hk.report.panels.reliability import fill_bins, reliability_panel


@pytest.fixture(scope="module")
def predictions() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    confidence = random.uniform(0.3, 1, 500) ** 0.5
    return confidence, random.random(500) < confidence**2


def test_points_are_those_of_scikit_learn(predictions):
    confidence, correct = predictions
    bins = fill_bins(confidence, correct)
    accuracy, mean = calibration_curve(correct, confidence, n_bins=15)
    np.testing.assert_allclose([b.accuracy for b in bins], accuracy)
    np.testing.assert_allclose([b.confidence for b in bins], mean)
    assert sum(b.count for b in bins) == 500
    assert all(b.low < b.confidence <= b.high for b in bins)
    assert all(b.accuracy_low < b.accuracy < b.accuracy_high for b in bins)


def test_error_is_the_metric_of_the_same_predictions(predictions):
    confidence, correct = predictions
    # Two classes beside the predicted one share the rest, so that it stays the largest.
    rest = (1 - confidence)[:, None] * np.array([0.4, 0.3, 0.3])
    probabilities = np.concatenate([confidence[:, None], rest], axis=1)
    labels = np.where(correct, 0, 1)
    panel = reliability_panel(confidence, correct)
    assert panel.data.calibration_error == pytest.approx(calibration_error(probabilities, labels))


def test_logarithmic_axis_ends_at_a_power_of_ten():
    data = reliability_panel(np.full(1001, 0.99), np.ones(1001, bool)).data
    assert data.decades == 4
    assert data.log_share(10_000) == 1
    assert data.log_share(0.5) == 0
    assert 0 < data.log_share(1) < data.log_share(10) < 1


def test_one_image_has_one_bin():
    data = reliability_panel(np.array([0.0]), np.array([False])).data
    assert [(b.low, b.count) for b in data.bins] == [(0, 1)]
    assert data.calibration_error == 0
