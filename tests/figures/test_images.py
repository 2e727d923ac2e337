import numpy as np

from vit_hk.figures.images import displayable


def test_colour_images_stay_as_they_are():
    image = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    np.testing.assert_array_equal(displayable(image), image)


def test_one_channel_becomes_grey():
    image = np.random.default_rng(0).integers(0, 256, (4, 5, 1), dtype=np.uint8)
    shown = displayable(image)
    assert shown.shape == (4, 5, 3)
    assert shown.dtype == np.uint8
    for channel in range(3):
        np.testing.assert_array_equal(shown[..., channel], image[..., 0])


def test_other_numbers_of_channels_show_their_mean():
    image = np.array([[[10, 20], [255, 255]]], np.uint8)
    np.testing.assert_array_equal(displayable(image), [[[15] * 3, [255] * 3]])
