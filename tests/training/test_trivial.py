import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from settings_file import AUGMENTATION_OFF

from vit_hk.data.sources.torchvision_sets import import_torchvision_datasets
from vit_hk.params import AugmentSettings
from vit_hk.training.augment import TRIVIAL, augment
from vit_hk.training.trivial import (
    NUM_STRENGTHS,
    OPERATIONS,
    Choice,
    affine_maps,
    change_colors,
    draw_operations,
    histograms,
)
from vit_hk.training.warp import affine_grid, resample

import_torchvision_datasets()  # declares operators without which transforms cannot be imported
from torchvision.transforms import InterpolationMode, v2  # noqa: E402

F = v2.functional
# The search space is read from torchvision, for images of 32 x 32 pixels.
SPACE = v2.TrivialAugmentWide._AUGMENTATION_SPACE
NAMES = {
    "identity": "Identity", "shear_x": "ShearX", "shear_y": "ShearY",
    "translate_x": "TranslateX", "translate_y": "TranslateY", "rotate": "Rotate",
    "brightness": "Brightness", "color": "Color", "contrast": "Contrast",
    "sharpness": "Sharpness", "posterize": "Posterize", "solarize": "Solarize",
    "autocontrast": "AutoContrast", "equalize": "Equalize",
}  # fmt: skip
GEOMETRIC = OPERATIONS[1:6]
STRENGTHS = (0, 1, 12, 19, NUM_STRENGTHS - 1)


def torchvision_result(image, operation, strength, is_negative):
    """Return what torchvision's TrivialAugmentWide makes of an image [height, width, channels]."""
    magnitudes, signed = SPACE[NAMES[operation]]
    table = magnitudes(NUM_STRENGTHS, 32, 32)
    magnitude = 0.0 if table is None else float(table[strength])
    if signed and is_negative:
        magnitude = -magnitude
    apply = v2.TrivialAugmentWide()._apply_image_or_video_transform
    tensor = torch.from_numpy(np.moveaxis(image, -1, 0).copy())
    changed = apply(
        tensor, NAMES[operation], magnitude, InterpolationMode.BILINEAR, {type(tensor): None}
    )
    return np.moveaxis(changed.numpy(), 0, -1)


def all_choices(operations):
    """Return a choice of each operation, some strengths and both signs, and their number."""
    numbers = [OPERATIONS.index(name) for name in operations]
    grid = np.meshgrid(numbers, STRENGTHS, [0, 1], indexing="ij")
    return Choice(*(jnp.asarray(x.ravel()) for x in grid))


def photographs(count, *shape):
    """Return smooth random images, each with its own range of levels."""
    random = np.random.default_rng(0)
    noise = gaussian_filter(random.normal(size=(count, *shape)), (0, 2, 2, 0))
    noise -= noise.min(axis=(1, 2, 3), keepdims=True)
    noise /= noise.max(axis=(1, 2, 3), keepdims=True)
    low, high = random.uniform(0, 80, count), random.uniform(120, 255, count)
    low, high = low.reshape(-1, 1, 1, 1), high.reshape(-1, 1, 1, 1)
    return (low + (high - low) * noise).astype(np.uint8)


def test_operations_are_those_of_torchvision():
    assert [NAMES[name] for name in OPERATIONS] == list(SPACE)


@pytest.mark.parametrize("channels", [3, 1])
def test_colors_equal_torchvision(channels):
    operations = [name for name in OPERATIONS if name not in GEOMETRIC]
    choice = all_choices(operations)
    images = photographs(len(choice.operation), 32, 32, channels)
    images[3::4] = np.random.default_rng(1).integers(0, 256, images[3::4].shape)
    images[2] = 77  # one level
    found = jax.jit(change_colors)(choice, images)
    assert found.dtype == np.uint8
    for number, (operation, *how) in enumerate(zip(*map(np.asarray, choice), strict=True)):
        expected = torchvision_result(images[number], OPERATIONS[operation], *how)
        # Torchvision computes these in float32, and rounds down.
        inexact = ("brightness", "color", "contrast", "sharpness", "autocontrast")
        error = np.abs(np.int32(found[number]) - expected).max()
        assert error <= (OPERATIONS[operation] in inexact), (OPERATIONS[operation], how)


def test_geometric_operations_equal_torchvision():
    choice = all_choices(GEOMETRIC)
    images = photographs(len(choice.operation), 32, 32, 3)

    @jax.jit
    def transform(images):
        maps = affine_maps(choice, 32, 32)
        return resample(images, *affine_grid(32, 32, maps, np.zeros((2, 1), np.int32)))

    found = transform(images)
    for number, (operation, *how) in enumerate(zip(*map(np.asarray, choice), strict=True)):
        expected = torchvision_result(images[number], OPERATIONS[operation], *how)
        # Positions are rounded to 1/256 pixel, and torchvision rounds levels.
        np.testing.assert_allclose(found[number], expected, atol=1.5, err_msg=str((operation, how)))


def test_histograms_equal_numpy():
    images = np.random.default_rng(0).integers(0, 256, (3, 5, 7, 2))
    counts = histograms(jnp.asarray(images))
    for image, of_image in zip(images, counts, strict=True):
        for channel, found in enumerate(of_image):
            expected = np.bincount(image[..., channel].ravel(), minlength=256)
            np.testing.assert_array_equal(found, expected)


def test_operations_strengths_and_signs_are_drawn_uniformly():
    count = 14 * 31 * 20
    choice = draw_operations(jax.random.split(jax.random.key(0), count))
    for values, limit in zip(choice, (14, 31, 2), strict=True):
        counts = np.bincount(values, minlength=limit)
        assert len(counts) == limit
        # Five standard deviations of a binomial distribution.
        assert np.abs(counts - count / limit).max() < 5 * (count / limit) ** 0.5
    assert np.abs(np.corrcoef(choice) - np.eye(3)).max() < 0.05


def test_augment_applies_the_operation_that_the_key_of_an_image_draws():
    keys, images = jax.random.split(jax.random.key(2), 30), photographs(30, 32, 32, 3)
    settings = AugmentSettings(**AUGMENTATION_OFF | {"trivial": True})
    found = jax.jit(augment, static_argnums=2)(keys, images, settings)
    assert found.dtype == np.float32
    choice = draw_operations(jax.vmap(jax.random.fold_in, (0, None))(keys, TRIVIAL))
    for number, (operation, *how) in enumerate(zip(*map(np.asarray, choice), strict=True)):
        expected = torchvision_result(images[number], OPERATIONS[operation], *how)
        np.testing.assert_allclose(found[number], expected, atol=2)
