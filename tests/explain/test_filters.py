import numpy as np
import pytest
from sklearn.decomposition import PCA

from vit_hk.explain.filters import principal_filters


def test_components_of_filters_that_mix_two_patterns():
    # Two orthonormal patterns of 2 x 2 pixels in 2 channels.
    stripe, corner = np.zeros((2, 2, 2)), np.zeros((2, 2, 2))
    stripe[0, :, 0] = [0.6, 0.8]
    corner[1, 1, 1] = -1
    # Over the 4 filters the coefficients have mean 0 and variances 9 and 1.
    coefficients = np.array([[3.0, 3.0, -3.0, -3.0], [1.0, -1.0, 1.0, -1.0]])
    filters = (
        coefficients[0, :, None] * stripe.ravel() + coefficients[1, :, None] * corner.ravel() + 5.0
    )
    images, shares = principal_filters(filters.T, 2, 2)
    np.testing.assert_allclose(images[0], stripe, atol=1e-12)
    np.testing.assert_allclose(images[1], -corner, atol=1e-12)  # the largest element is positive
    np.testing.assert_allclose(shares, [0.9, 0.1])


@pytest.mark.parametrize("width", [5, 40])
def test_equals_scikit_learn(width):
    weights = np.random.default_rng(0).normal(size=(3 * 3 * 2, width)).astype(np.float32)
    images, shares = principal_filters(weights, 3, 4)
    reference = PCA(4, svd_solver="full").fit(weights.T.astype(np.float64))
    assert images.shape == (4, 3, 3, 2)
    np.testing.assert_allclose(shares, reference.explained_variance_ratio_)
    cosines = (images.reshape(4, -1) * reference.components_).sum(axis=1)
    np.testing.assert_allclose(np.abs(cosines), 1)


def test_count_is_limited_to_the_number_of_components():
    weights = np.random.default_rng(0).normal(size=(4, 9))
    images, shares = principal_filters(weights, 2, 28)
    assert images.shape == (4, 2, 2, 1)
    assert shares.sum() == pytest.approx(1)


def test_a_single_filter_has_no_variance():
    images, shares = principal_filters(np.ones((4, 1)), 2, 3)
    assert images.shape == (1, 2, 2, 1)
    assert shares.tolist() == [0]
