"""Corruptions against scipy.ndimage and closed forms."""

from typing import get_args

import numpy as np
import pytest
from scipy import ndimage

from vit_hk.data import corruptions
from vit_hk.data.corruptions import CORRUPTIONS, MAX_SEVERITY, CorruptedImages
from vit_hk.data.image_rows import ImageRows
from vit_hk.params import CorruptionName

SHAPES = [(28, 28, 1), (32, 20, 3), (5, 9, 2), (1, 1, 1)]


def images_of(shape: tuple[int, ...], count: int = 6) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)


def corrupted(images: np.ndarray, name: str, severity: int) -> np.ndarray:
    return CorruptedImages(images, name, severity)[:]


def grey(value: int, count: int = 4) -> np.ndarray:
    return np.full((count, 100, 100, 1), value, np.uint8)


def test_settings_know_the_same_names():
    assert get_args(CorruptionName) == tuple(CORRUPTIONS)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_there_is_a_rising_strength_for_each_severity(name):
    strengths = CORRUPTIONS[name].strengths
    assert len(strengths) == MAX_SEVERITY
    assert strengths[0] > 0
    assert sorted(set(strengths)) == list(strengths)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_shape_and_dtype_stay_and_the_images_given_are_not_changed(name, shape):
    images = images_of(shape)
    before = images.copy()
    lazy = CorruptedImages(images, name, MAX_SEVERITY)
    assert (len(lazy), lazy.shape) == (6, images.shape)
    result = lazy[:]
    assert (result.dtype, result.shape) == (np.uint8, images.shape)
    assert (result != images).any() or shape == (1, 1, 1)  # a pixel has no neighbours
    np.testing.assert_array_equal(images, before)
    np.testing.assert_array_equal(corrupted(images, name, 0), images)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_an_image_is_corrupted_alike_whichever_others_are_read_with_it(name, monkeypatch):
    images = images_of((9, 7, 3))
    lazy = CorruptedImages(ImageRows(images, np.arange(6)), name, 3)
    everything = lazy[:]
    np.testing.assert_array_equal(lazy[np.array([4, 1])], everything[[4, 1]])
    monkeypatch.setattr(corruptions, "CHUNK_BYTES", 2 * images[0].size)
    np.testing.assert_array_equal(np.concatenate([lazy[:1], lazy[1:6]]), everything)
    assert lazy[6:].shape == (0, 9, 7, 3)


def test_lengths_grow_with_the_shorter_side():
    blur = CORRUPTIONS["gaussian_blur"]
    assert [blur.strength(severity, (28, 28, 1)) for severity in range(5)] == [0, 0.5, 1, 1.5, 2]
    assert blur.strength(2, (56, 112, 3)) == 2
    assert CORRUPTIONS["brightness"].strength(2, (56, 112, 3)) == 10
    # An image moves by whole pixels, and the figure and the table say by how many.
    translation = CORRUPTIONS["translate"]
    assert [translation.strength(n, (32, 32, 3)) for n in range(5)] == [0, 2, 5, 7, 9]
    assert [translation.strength(n, (8, 8, 1)) for n in range(5)] == [0, 1, 1, 2, 2]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("sigma", [0.5, 1.5, 4.0])
def test_blur_is_that_of_scipy(shape, sigma):
    images = images_of(shape)
    expected = ndimage.gaussian_filter(
        images.astype(float), (0, sigma, sigma, 0), mode="nearest", truncate=4.0
    )
    result = corruptions.gaussian_blur(images, np.arange(6), sigma)
    assert np.abs(result - expected).max() < 0.501  # rounding to whole numbers


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_strokes_grow_and_shrink_as_in_scipy(shape):
    images, keys = images_of(shape), np.arange(6)
    for corrupt, reference in [
        (corruptions.thicken, ndimage.grey_dilation),
        (corruptions.thin, ndimage.grey_erosion),
    ]:
        one, two = (reference(images, (1, side, side, 1), mode="nearest") for side in (3, 5))
        np.testing.assert_array_equal(corrupt(images, keys, 1.0), one)
        np.testing.assert_array_equal(corrupt(images, keys, 2.0), two)
        between = corrupt(images, keys, 1.25)
        assert np.abs(between - (0.75 * one + 0.25 * two)).max() <= 0.5


def test_brightness_is_added_up_to_white():
    image = np.array([0, 100, 228, 229, 230, 255], np.uint8).reshape(1, 2, 3, 1)
    result = corruptions.brightness(image, np.arange(1), 10)  # 25.5
    assert result.ravel().tolist() == [26, 126, 254, 254, 255, 255]


def test_translation_moves_to_the_four_sides_alike_and_fills_with_black():
    images = images_of((6, 9, 2), 400)
    result = corruptions.translate(images, np.arange(400), 2)
    directions = [(-2, 0), (2, 0), (0, -2), (0, 2)]
    moved = np.stack([ndimage.shift(images, (0, *step, 0), order=0) for step in directions])
    is_moved = (moved == result).all(axis=(2, 3, 4))  # [directions, images]
    assert (is_moved.sum(axis=0) == 1).all()
    counts = is_moved.sum(axis=1)
    assert counts.min() > 70  # 100 each, with a standard deviation of 9


def test_gaussian_noise_has_its_standard_deviation_and_is_cut_off():
    middle = corrupted(grey(128), "gaussian_noise", 2) - 128.0
    assert middle.std() == pytest.approx(25.5, rel=0.02)
    assert abs(middle.mean()) < 0.5
    # 68.3 % of normal numbers lie within a standard deviation.
    assert (np.abs(middle) <= 25.5).mean() == pytest.approx(0.683, abs=0.01)
    black = corrupted(grey(0), "gaussian_noise", 2)
    assert black.mean() == pytest.approx(25.5 / np.sqrt(2 * np.pi), rel=0.02)
    assert abs(np.corrcoef(middle[0].ravel(), middle[1].ravel())[0, 1]) < 0.03


def test_impulse_noise_replaces_its_share_by_black_and_white_alike():
    results = [corrupted(grey(100), "impulse_noise", severity) for severity in range(1, 5)]
    for result, percent in zip(results, [2.5, 5, 10, 20], strict=True):
        for value in (0, 255):
            assert (result == value).mean() == pytest.approx(percent / 200, rel=0.1)
        assert set(np.unique(result)) == {0, 100, 255}
    # What a severity has replaced, the next one replaces too.
    assert (results[1][results[0] != 100] != 100).all()
