import dataclasses

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.covariance import EmpiricalCovariance
from synthetic_results import random_params

from vit_hk.errors import UserError
from vit_hk.model import reference
from vit_hk.model.vit import init_params
from vit_hk.training.fit_calibration import (
    calibrate,
    class_statistics,
    evenly_from_classes,
    fit_temperature,
)


def random_logits(scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Return logits whose softmax at temperature `scale` is the distribution of the labels."""
    random = np.random.default_rng(0)
    calibrated = 2 * random.normal(size=(4000, 5))
    labels = np.array([random.choice(5, p=p) for p in np.exp(log_softmax(calibrated, axis=1))])
    return (scale * calibrated).astype(np.float32), labels


def cross_entropy(logits: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    scaled = log_softmax(logits.astype(np.float64) / temperature, axis=1)
    return -scaled[np.arange(len(labels)), labels].mean()


def test_weights_whose_features_are_not_finite_are_named(make_config, quadrants, one_line):
    config = make_config(learning_rate=0.5)
    weights = init_params(config.model, (8, 8, 1), 4, seed=0)
    huge = {module: {k: 1e30 * v for k, v in of.items()} for module, of in weights.items()}
    with pytest.raises(UserError, match=r"not finite .*; lower train\.learning_rate") as error:
        calibrate(config, huge, quadrants, 4)
    one_line(error.value)


def test_weights_whose_logits_are_not_finite_are_named(make_config, quadrants, one_line):
    config = make_config()
    weights = init_params(config.model, (8, 8, 1), 4, seed=0)
    weights = weights | {"vit/head": {k: v + 3e38 for k, v in weights["vit/head"].items()}}
    with pytest.raises(UserError, match="logits or features of training images are not") as error:
        calibrate(config, weights, quadrants, 4)
    one_line(error.value)


def test_statistics_come_from_training_or_validation_images(make_config, quadrants):
    config = make_config()
    weights = random_params(config.model, (8, 8, 1), 4)
    seen, held_out = (
        reference.vit(weights, quadrants.normalization(images), config.model)
        for images in (quadrants.x_train, quadrants.x_validation)
    )
    # Labels such that the temperature is about 2.
    random = np.random.default_rng(0)
    probabilities = softmax(np.asarray(held_out.logits, np.float64) / 2, axis=1)
    labels = np.array([random.choice(4, p=p / p.sum()) for p in probabilities], np.int32)
    data = dataclasses.replace(quadrants, y_validation=labels)
    found = calibrate(config, weights, data, 4)

    fitted = minimize_scalar(
        lambda t: cross_entropy(np.asarray(held_out.logits), labels, t), bounds=(0.1, 10)
    )
    assert 0.5 < fitted.x < 8
    assert found.temperature == pytest.approx(fitted.x, rel=1e-3)
    features = np.asarray(seen.features, np.float64)
    means = np.stack([features[data.y_train == c].mean(axis=0) for c in range(4)])
    np.testing.assert_allclose(found.class_means, means, rtol=1e-3, atol=1e-4)
    precision = np.linalg.pinv(np.cov((features - means[data.y_train]).T, bias=True), rcond=1e-6)
    offsets = np.asarray(held_out.features, np.float64)[:, np.newaxis] - means
    squares = np.einsum("icd,de,ice->ic", offsets, precision, offsets)
    distances = np.sqrt(squares.min(axis=1))
    assert found.threshold == pytest.approx(np.quantile(distances, 0.99), rel=1e-2)
    is_border = np.ones((8, 8), bool)
    is_border[1:-1, 1:-1] = False
    border = data.x_train[:, is_border].mean(axis=(1, 2)) / 255
    np.testing.assert_allclose(found.border_range, np.percentile(border, [1, 99]), rtol=1e-5)


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_temperature_is_the_minimum_that_scipy_finds(scale):
    logits, labels = random_logits(scale)
    found = minimize_scalar(
        lambda t: cross_entropy(logits, labels, t), bounds=(0.1, 10), options={"xatol": 1e-9}
    )
    fitted = fit_temperature(logits, labels)
    assert fitted == pytest.approx(found.x, abs=1e-6)
    assert fitted == pytest.approx(scale, rel=0.1)  # and undoes the scale


def test_temperature_stays_in_its_interval():
    # Confident, and wrong in two of three: no temperature is high enough.
    assert fit_temperature(1000 * np.eye(3), np.array([0, 0, 0])) == pytest.approx(10.0)
    # Right by a hair in all but one of many, which a tie decides.
    logits = np.tile([0.01, 0.0], (1000, 1))
    logits[0] = [0.0, 1e-12]
    assert fit_temperature(logits, np.zeros(1000, int)) == pytest.approx(0.1)


def test_temperature_is_1_where_no_image_is_wrong():
    assert fit_temperature(np.eye(3), np.arange(3)) == 1.0


def test_class_statistics_equal_those_of_sklearn():
    random = np.random.default_rng(0)
    labels = np.arange(300) % 3
    features = random.normal(size=(300, 4)) @ random.normal(size=(4, 4)) + 5 * labels[:, None]
    means, whitening = class_statistics(features, labels, 3)
    expected_means = np.stack([features[labels == c].mean(axis=0) for c in range(3)])
    np.testing.assert_allclose(means, expected_means, rtol=1e-6)
    shared = EmpiricalCovariance(assume_centered=True).fit(features - expected_means[labels])
    np.testing.assert_allclose(whitening @ whitening.T, shared.precision_, rtol=1e-4, atol=1e-6)


def test_direction_that_features_do_not_have_does_not_count():
    random = np.random.default_rng(0)
    features = random.normal(size=(50, 3)).astype(np.float32)
    features -= features.mean(axis=1, keepdims=True)  # as LayerNorm does
    _, whitening = class_statistics(features, np.zeros(50, int), 1)
    assert np.abs(np.ones(3) @ whitening).max() < 1e-2
    assert np.linalg.matrix_rank(whitening) == 2


def test_equal_features_have_no_distance():
    means, whitening = class_statistics(np.ones((4, 2)), np.array([0, 0, 1, 1]), 2)
    assert (means == 1).all()
    assert (whitening == 0).all()


def test_class_without_images_gets_the_mean_of_another():
    features = np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 9.0]])
    means, _ = class_statistics(features, np.array([0, 0, 2]), 3)
    np.testing.assert_array_equal(means, [[1, 2], [1, 2], [4, 9]])


def test_images_are_taken_evenly_from_each_class():
    labels = np.array([0] * 100 + [1] * 50 + [2])
    taken = evenly_from_classes(labels, 30)
    assert np.bincount(labels[taken]).tolist() == [20, 10, 1]
    assert (np.diff(taken) > 0).all()
    assert taken[:3].tolist() == [0, 5, 10]


def test_all_images_are_taken_where_there_are_few():
    assert evenly_from_classes(np.array([1, 0, 1]), 10).tolist() == [0, 1, 2]
