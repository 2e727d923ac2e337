import numpy as np

from vit_hk.model.patches import split_patches


def test_patches_are_ordered_by_row_and_flattened_as_row_column_channel():
    images = np.arange(2 * 4 * 6 * 3).reshape(2, 4, 6, 3)
    patches = split_patches(images, 2)
    assert patches.shape == (2, 6, 12)
    for image in range(2):
        for row in range(2):
            for column in range(3):
                patch = images[image, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
                np.testing.assert_array_equal(patches[image, row * 3 + column], patch.ravel())
