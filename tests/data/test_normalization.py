import jax
import numpy as np
import pytest

from vit_hk.data.normalization import Normalization


def test_mean_and_std_equal_numpy():
    images = np.random.default_rng(0).integers(0, 256, (50, 7, 5, 3), dtype=np.uint8)
    images[..., 1] //= 4
    normalization = Normalization.from_images(images)
    expected_mean, expected_std = (f(images / 255, axis=(0, 1, 2)) for f in (np.mean, np.std))
    np.testing.assert_allclose(normalization.mean, expected_mean, rtol=1e-12)
    np.testing.assert_allclose(normalization.std, expected_std, rtol=1e-12)


def test_mean_and_std_of_black_and_white_equal_literal_values():
    images = np.array([0, 255, 255, 0], np.uint8).reshape(2, 2, 1, 1)
    assert Normalization.from_images(images) == Normalization(mean=(0.5,), std=(0.5,))


def test_constant_channel_has_std_one():
    normalization = Normalization.from_images(np.full((3, 2, 2, 1), 51, np.uint8))
    assert normalization.mean == pytest.approx((0.2,))
    assert normalization.std == (1.0,)


def test_normalized_images_have_mean_0_and_std_1():
    images = np.random.default_rng(0).integers(0, 200, (100, 6, 6, 2), dtype=np.uint8)
    normalized = Normalization.from_images(images)(images)
    assert normalized.dtype == np.float32
    assert normalized.shape == images.shape
    np.testing.assert_allclose(normalized.mean(axis=(0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(normalized.std(axis=(0, 1, 2)), 1, atol=1e-5)


@pytest.mark.parametrize("transform", [lambda f: f, jax.jit], ids=["numpy", "jax"])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_normalized_pixels_equal_literal_values(transform, dtype):
    images = np.array([0, 51, 255], dtype).reshape(1, 3, 1, 1)
    normalized = transform(Normalization(mean=(0.2,), std=(0.4,)))(images)
    assert normalized.dtype == np.float32
    np.testing.assert_allclose(normalized.ravel(), [-0.5, 0.0, 2.0], atol=1e-6)
