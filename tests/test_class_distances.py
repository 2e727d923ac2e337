import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis

from vit_hk.calibration import class_distances


def test_distance_is_the_mahalanobis_distance_of_scipy_to_the_nearest_mean():
    random = np.random.default_rng(0)
    features, means = random.normal(size=(20, 3)), random.normal(size=(4, 3))
    mixing = random.normal(size=(3, 3))
    inverse_covariance = np.linalg.inv(mixing @ mixing.T)
    whitening = np.linalg.cholesky(inverse_covariance)
    expected = [min(mahalanobis(x, mean, inverse_covariance) for mean in means) for x in features]
    np.testing.assert_allclose(class_distances(features, means, whitening), expected)


def test_distance_of_a_mean_to_itself_is_zero():
    means = np.array([[1e4, 1.0], [1e4, 3.0]], np.float32)
    np.testing.assert_array_equal(class_distances(means, means, np.eye(2, dtype=np.float32)), 0.0)


def test_distance_does_not_depend_on_the_origin():
    random = np.random.default_rng(1)
    features, means = random.normal(size=(9, 3)), random.normal(size=(2, 3))
    near = class_distances(features, means, np.eye(3))
    assert class_distances(features + 1e6, means + 1e6, np.eye(3)) == pytest.approx(near, abs=1e-4)
