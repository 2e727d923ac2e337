from functools import partial

import jax
import numpy as np
import pytest
from scipy.ndimage import affine_transform, gaussian_filter, map_coordinates
from settings_file import AUGMENTATION_OFF

from vit_hk.params import AugmentSettings
from vit_hk.training.augment import augment, random_shift
from vit_hk.training.warp import (
    ONE,
    PIXEL,
    AffineMaps,
    affine_grid,
    random_warp,
    resample,
    rotations,
    rounded_shift,
    scalings,
    smooth_noise,
)

SHAPE = (5, 9, 7, 2)  # images, height, width, channels


def random_images(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def settings(**changes):
    return AugmentSettings(**AUGMENTATION_OFF | changes)


def keys_of(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


def grid(height, width, angles, scales=1.0, shift=((0,), (0,))):
    linear = rounded_shift(rotations(np.asarray(angles)) * scalings(np.asarray(scales)), ONE)
    maps = AffineMaps(linear, np.zeros((2, 1), np.int32))
    return affine_grid(height, width, maps, np.array(shift))


def resample_with_scipy(images, rows, columns):
    result = np.empty(images.shape)
    for image, row, column, resampled in zip(images, rows, columns, result, strict=True):
        for channel in range(images.shape[-1]):
            # grid-constant: pixels beyond the edge are 0.
            resampled[..., channel] = map_coordinates(
                image[..., channel].astype(float), [row, column], order=1, mode="grid-constant"
            )
    return result


def test_resampling_equals_scipy_inside_and_outside_of_the_image():
    images, random = random_images(*SHAPE), np.random.default_rng(1)
    places = random.integers(-4 * PIXEL, 13 * PIXEL, (2, *SHAPE[:3]))
    places[:, 0] -= places[:, 0] % PIXEL  # also exactly at pixels
    places[:, 1, 0, 0] = 2**30, -(2**30)
    result = jax.jit(resample)(images, *places)
    assert result.dtype == np.float32
    # Exact, as sums of whole numbers below 2**24 over 2**16 are.
    np.testing.assert_array_equal(result, resample_with_scipy(images, *places / PIXEL))


def test_translation_by_whole_pixels_equals_numpy_roll():
    images = random_images(*SHAPE)
    shift = np.array([[0, 1, -2, 3, 0], [0, -1, 2, 0, -6]])
    translated = resample(images, *grid(9, 7, np.zeros(5), shift=shift))
    padded = np.pad(images, ((0, 0), (9, 9), (7, 7), (0, 0)))
    for index, (down, right) in enumerate(shift.T):
        rolled = np.roll(padded[index], (down, right), axis=(0, 1))
        np.testing.assert_array_equal(translated[index], rolled[9:18, 7:14])


def test_rotation_is_counterclockwise_about_the_middle():
    images = random_images(2, 6, 6, 3)
    rotated = resample(images, *grid(6, 6, np.pi / 2 * np.array([1, -1])))
    np.testing.assert_array_equal(rotated[0], np.rot90(images[0]))
    np.testing.assert_array_equal(rotated[1], np.rot90(images[1], -1))


def test_an_affine_map_equals_scipy():
    image = gaussian_filter(np.random.default_rng(3).uniform(0, 255, (28, 28)), 2)
    angle, scale = np.radians(33), 1.7
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    matrix, middle = np.array([[cos, sin], [-sin, cos]]), np.array([13.5, 13.5])
    offset = middle - matrix @ (middle + np.array([2, -3]))
    expected = affine_transform(image, matrix, offset, order=1, mode="grid-constant")
    found = resample(image[None, ..., None], *grid(28, 28, [angle], [scale], [[2], [-3]]))
    # Half a unit of a position and of a coefficient, times the slope of the image.
    np.testing.assert_allclose(found[0, ..., 0], expected, atol=1)


def test_positions_of_the_largest_maps_fit():
    rows, columns = grid(4096, 4096, [np.pi / 4], [0.01], [[1000], [-1000]])
    diagonal = 16 * (4095 / 2 + 1000) * 2**0.5 * PIXEL  # of one corner, relative to the centre
    corner = np.array([rows[0, 0, -1], columns[0, 0, -1]])
    expected = np.array([4095 / 2 * PIXEL, 4095 / 2 * PIXEL + diagonal])
    np.testing.assert_allclose(corner, expected, atol=1e-3 * diagonal)


def test_scaling_by_two_is_about_the_middle():
    image = np.zeros((1, 7, 9, 1), np.uint8)
    image[0, 2, 5] = 200  # one row above and one column to the right of the middle (3, 4)
    scaled = resample(image, *grid(7, 9, np.zeros(1), 2 * np.ones(1)))
    expected = np.zeros((7, 9))
    expected[0:3, 5:8] = np.outer([0.5, 1, 0.5], [0.5, 1, 0.5]) * 200
    np.testing.assert_array_equal(scaled[0, ..., 0], expected)


@pytest.mark.parametrize(
    ("changes", "max_angle", "max_scale", "max_shift"),
    [
        ({"rotate": 20.0}, 20, 0, 0),
        ({"scale": 0.3}, 0, 0.3, 0),
        ({"rotate": 10.0, "scale": 0.2, "shift": 3}, 10, 0.2, 3),
    ],
)
def test_rotation_scaling_and_translation_are_drawn_uniformly(
    changes, max_angle, max_scale, max_shift
):
    # The channels hold the row and the column of each pixel, so the warped middle pixel shows the
    # place that it comes from. The image is so large that its edge does not matter there.
    side, count = 101, 400
    places = np.stack(np.mgrid[:side, :side], axis=-1).astype(np.float32) - 50
    images = np.broadcast_to(places, (count, side, side, 2))
    warp = jax.jit(lambda keys, images: random_warp(keys, images, settings(**changes)))
    warped = np.asarray(warp(keys_of(count, seed=1), images))
    middle, right, below = warped[:, 50, 50], warped[:, 50, 51], warped[:, 51, 50]
    # A step in the warped image is a step in the image, rotated and divided by the scale.
    step = right - middle
    np.testing.assert_allclose(below - middle, np.stack([step[:, 1], -step[:, 0]], 1), atol=0.01)
    angles = np.degrees(np.arctan2(step[:, 0], step[:, 1]))
    scales = 1 / np.hypot(*step.T)
    shifts = -np.stack(  # with the inverse of that matrix
        [middle[:, 0] * step[:, 1] - middle[:, 1] * step[:, 0], (middle * step).sum(axis=1)]
    ) * scales**2  # fmt: skip
    for values, maximum in ((angles, max_angle), (scales - 1, max_scale)):
        assert_uniform(values, maximum, 0.2)
    np.testing.assert_allclose(shifts, shifts.round(), atol=0.03)
    for direction in shifts.round():
        assert set(direction) == set(range(-max_shift, max_shift + 1))
    if max_angle and max_scale and max_shift:  # all are drawn independently
        assert np.abs(np.corrcoef([angles, scales, *shifts]) - np.eye(4)).max() < 0.2


def assert_uniform(values, maximum, tolerance):
    assert np.abs(values).max() <= maximum + tolerance
    if maximum:
        counts, _ = np.histogram(values, 4, (-maximum, maximum))
        # 100 are expected of 400; five standard deviations are 43.
        assert counts.min() > len(values) / 4 * 0.6


@pytest.mark.parametrize(("height", "width"), [(28, 28), (9, 20), (1, 1)])
def test_noise_has_std_one_at_each_pixel(height, width):
    fields = np.asarray(smooth_noise(keys_of(2000), 2, height, width, 1000)) / 1000
    assert fields.shape == (2000, 2, height, width)
    fields = fields.reshape(-1, height, width)
    assert np.abs(fields.mean(axis=0)).max() < 0.1  # 6 standard errors
    np.testing.assert_allclose(fields.std(axis=0), 1, atol=0.07)


def test_noise_is_as_smooth_as_white_noise_after_a_gaussian_filter():
    # Of 4 pixels, as in Simard et al. for MNIST; SciPy filters a field that wraps around.
    fields = np.asarray(smooth_noise(keys_of(4000), 1, 28, 28, 1000))[:, 0] / 1000
    white = np.random.default_rng(0).uniform(-1, 1, (1000, 1000))
    smooth = gaussian_filter(white, 4, mode="wrap")
    for distance in (1, 3, 6, 10):
        expected = (smooth * np.roll(smooth, distance, 0)).mean() / smooth.var()
        # The correlation of two pixels at this distance, in both directions.
        down = (fields[:, distance:] * fields[:, :-distance]).mean()
        right = (fields[:, :, distance:] * fields[:, :, :-distance]).mean()
        assert (down, right) == pytest.approx((expected, expected), abs=0.08)


def test_elastic_is_the_std_of_the_displacement():
    height, width, count = 60, 80, 300
    places = np.stack(np.mgrid[:height, :width], axis=-1).astype(np.float32)
    images = np.broadcast_to(places, (count, height, width, 2))
    warp = jax.jit(lambda keys, images: random_warp(keys, images, settings(elastic=1.5)))
    inner = np.s_[:, 20:-20, 20:-20]
    field = (np.asarray(warp(keys_of(count), images)) - images)[inner]
    np.testing.assert_allclose(field.std(axis=(0, 1, 2)), 1.5, rtol=0.05)
    # The displacements of rows and columns, and of different images, are independent.
    pairs = field[:, 10, 10].reshape(count // 2, 4)
    assert np.abs(np.corrcoef(pairs.T) - np.eye(4)).max() < 0.3


def test_tiny_amplitudes_return_the_images():
    images = random_images(*SHAPE)
    tiny = settings(rotate=1e-9, scale=1e-9, elastic=1e-9)
    np.testing.assert_allclose(
        jax.jit(partial(augment, settings=tiny))(keys_of(len(images)), images), images, atol=1e-2
    )


@pytest.mark.parametrize("shift", [0, 2])
def test_translation_alone_equals_random_shift_bit_by_bit(shift):
    images, keys = random_images(*SHAPE), keys_of(SHAPE[0], seed=3)
    result = augment(keys, images, settings(shift=shift))
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, random_shift(keys, images, shift))


@pytest.mark.parametrize("shape", [(3, 8, 12, 3), (1, 1, 1, 1), (2, 5, 4, 2)])
def test_warped_pixels_are_between_0_and_255(shape):
    strong = settings(shift=3, rotate=180.0, scale=0.99, elastic=50.0)
    result = np.asarray(
        jax.jit(partial(augment, settings=strong))(keys_of(shape[0]), random_images(*shape))
    )
    assert result.shape == shape
    assert result.min() >= 0
    assert result.max() <= 255
