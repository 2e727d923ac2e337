import itertools
from collections import Counter

import jax
import numpy as np
import pytest

from vit_hk.training.augment import random_shift


def move(image, down, right):
    """Pixel by pixel; what comes from outside is 0."""
    height, width, _ = image.shape
    result = np.zeros_like(image)
    for row, column in itertools.product(range(height), range(width)):
        if 0 <= row - down < height and 0 <= column - right < width:
            result[row, column] = image[row - down, column - right]
    return result


@pytest.mark.parametrize(("largest", "dtype"), [(2, np.uint8), (1, np.float32)])
def test_each_image_moves_by_its_own_offset_and_all_offsets_occur_evenly(largest, dtype):
    offsets = list(itertools.product(range(-largest, largest + 1), repeat=2))
    count = 40 * len(offsets)
    pair = np.random.default_rng(0).integers(1, 256, (2, 5, 7, 2)).astype(dtype)
    shifted = random_shift(jax.random.key(0), np.concatenate([pair] * (count // 2)), largest)
    assert shifted.shape == (count, 5, 7, 2)
    assert shifted.dtype == dtype
    seen = Counter()
    for index, image in enumerate(pair):
        by_bytes = {move(image, *offset).tobytes(): offset for offset in offsets}
        # A KeyError is an image that none of the offsets gives.
        seen.update(by_bytes[moved.tobytes()] for moved in np.asarray(shifted[index::2]))
    assert len(seen) == len(offsets)
    # 40 are expected of each; 5 standard deviations of the binomial are 31.
    assert min(seen.values()) > 9
    assert max(seen.values()) < 71


def test_zero_moves_nothing():
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 1), dtype=np.uint8)
    np.testing.assert_array_equal(random_shift(jax.random.key(0), images, 0), images)
