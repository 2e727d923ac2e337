import itertools
from collections import Counter

import jax
import numpy as np
import pytest
from settings_file import AUGMENTATION_OFF

from vit_hk.model.random_keys import derive
from vit_hk.params import AugmentSettings
from vit_hk.training.augment import ERASE, FLIP, augment, random_flip, random_shift
from vit_hk.training.erasing import random_erase


def keys_of(count):
    return jax.random.split(jax.random.key(0), count)


def translate(image, down, right):
    """Translate an image pixel by pixel; pixels from outside of it are 0."""
    height, width, _ = image.shape
    result = np.zeros_like(image)
    for row, column in itertools.product(range(height), range(width)):
        if 0 <= row - down < height and 0 <= column - right < width:
            result[row, column] = image[row - down, column - right]
    return result


@pytest.mark.parametrize(("max_shift", "dtype"), [(2, np.uint8), (1, np.float32)])
def test_offsets_are_drawn_uniformly_for_each_image(max_shift, dtype):
    offsets = list(itertools.product(range(-max_shift, max_shift + 1), repeat=2))
    count = 40 * len(offsets)
    pair = np.random.default_rng(0).integers(1, 256, (2, 5, 7, 2)).astype(dtype)
    shifted = random_shift(keys_of(count), np.concatenate([pair] * (count // 2)), max_shift)
    assert shifted.shape == (count, 5, 7, 2)
    assert shifted.dtype == dtype
    seen = Counter()
    for index, image in enumerate(pair):
        offset_of = {translate(image, *offset).tobytes(): offset for offset in offsets}
        # A KeyError means that an image is not translated by any of the offsets.
        seen.update(offset_of[result.tobytes()] for result in np.asarray(shifted[index::2]))
    assert len(seen) == len(offsets)
    # Each is expected 40 times; five standard deviations of the binomial are 31.
    assert min(seen.values()) > 9
    assert max(seen.values()) < 71


def test_half_of_the_images_are_flipped_from_left_to_right():
    images = np.random.default_rng(0).integers(0, 256, (400, 3, 5, 2), dtype=np.uint8)
    flipped = np.asarray(random_flip(keys_of(400), images))
    assert flipped.dtype == np.uint8
    is_flipped = (flipped != images).any(axis=(1, 2, 3))
    assert 150 < is_flipped.sum() < 250  # five standard deviations
    np.testing.assert_array_equal(flipped[is_flipped], images[is_flipped][:, :, ::-1])


def test_shift_of_zero_returns_the_images():
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 1), dtype=np.uint8)
    np.testing.assert_array_equal(random_shift(keys_of(3), images, 0), images)


# What each augmentation returns if it is the only one; a warp needs more than its settings.
DIRECTLY = {
    "flip": lambda keys, images: random_flip(derive(keys, FLIP), images),
    "erase": lambda keys, images: random_erase(derive(keys, ERASE), images, 0.5),
}


@pytest.mark.parametrize(
    ("name", "value"),
    [("flip", True), ("rotate", 20.0), ("scale", 0.2), ("elastic", 2.0), ("erase", 0.5)],
)
def test_each_setting_alone_changes_images(name, value):
    keys, settings = keys_of(8), AugmentSettings(**AUGMENTATION_OFF | {name: value})
    images = np.random.default_rng(0).integers(0, 256, (8, 8, 12, 1), dtype=np.uint8)
    changed = np.asarray(augment(keys, images, settings))
    assert np.abs(changed - images.astype(np.float32)).max() > 20  # more than rounding
    if name in DIRECTLY:
        np.testing.assert_array_equal(changed, DIRECTLY[name](keys, images))
