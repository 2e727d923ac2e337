import numpy as np

from vit_hk.figures.images import to_rgb


def test_three_channels_are_unchanged():
    image = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    np.testing.assert_array_equal(to_rgb(image), image)


def test_one_channel_becomes_grey():
    image = np.random.default_rng(0).integers(0, 256, (4, 5, 1), dtype=np.uint8)
    rgb = to_rgb(image)
    assert rgb.shape == (4, 5, 3)
    assert rgb.dtype == np.uint8
    for channel in range(3):
        np.testing.assert_array_equal(rgb[..., channel], image[..., 0])


def test_other_numbers_of_channels_become_their_mean():
    image = np.array([[[10, 20], [255, 255]]], np.uint8)
    np.testing.assert_array_equal(to_rgb(image), [[[15] * 3, [255] * 3]])
