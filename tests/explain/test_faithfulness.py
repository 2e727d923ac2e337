import numpy as np
from scipy.stats import sem

from vit_hk.explain.faithfulness import faithfulness, mean_and_standard_error, reference_maps

GRID = (2, 3)  # patches of 2 x 4 pixels: images of 4 x 12


def predict(images: np.ndarray) -> np.ndarray:
    """Class 2 where patch 4 (second row, second column) shows the image's 200, else class 0."""
    images = images[:]  # made when it is read
    assert images.dtype == np.uint8
    visible = (images[:, 2:4, 4:8] == 200).all(axis=(1, 2, 3))
    logits = np.zeros((len(images), 3))
    logits[np.arange(len(images)), np.where(visible, 2, 0)] = 1000
    return logits


IMAGES = np.full((5, 4, 12, 2), 200, np.uint8)
BACKGROUND = np.random.default_rng(0).integers(0, 100, (4, 12, 2), dtype=np.uint8)
CLASSES = np.full(5, 2)


def map_of(*order: int) -> np.ndarray:
    """Maps [1, 5, 6] that rank the patches of all 5 images in this order."""
    importance = np.empty(6)
    importance[list(order)] = np.arange(6, 0, -1)
    return np.tile(importance, (1, 5, 1))


def test_a_map_that_ranks_the_decisive_patch_first():
    result = faithfulness(predict, IMAGES, BACKGROUND, map_of(4, 0, 1, 2, 3, 5), CLASSES, GRID)
    np.testing.assert_allclose(result.shares, np.arange(7) / 6)
    np.testing.assert_array_equal(result.deletion, [[[1, 0, 0, 0, 0, 0, 0]] * 5])
    np.testing.assert_array_equal(result.insertion, [[[0, 1, 1, 1, 1, 1, 1]] * 5])
    # Areas 1/12 and 11/12.
    np.testing.assert_allclose(result.scores, [[10 / 12] * 5])


def test_maps_that_rank_the_decisive_patch_late():
    maps = np.concatenate([map_of(0, 1, 4, 2, 3, 5), map_of(5, 3, 2, 1, 0, 4)])
    result = faithfulness(predict, IMAGES, BACKGROUND, maps, CLASSES, GRID)
    deletion, insertion = result.deletion[:, 0], result.insertion[:, 0]  # all images are equal
    np.testing.assert_array_equal(deletion, [[1, 1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1, 0]])
    np.testing.assert_array_equal(insertion, [[0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0, 1]])
    np.testing.assert_allclose(result.scores[:, 0], [7 / 12 - 5 / 12, -10 / 12])


def test_each_image_has_curves_of_its_own_class():
    maps = np.concatenate(
        [map_of(4, 0, 1, 2, 3, 5)[:, :2], map_of(0, 1, 2, 3, 5, 4)[:, :3]], axis=1
    )
    result = faithfulness(predict, IMAGES, BACKGROUND, maps, CLASSES, GRID)
    mean, _ = mean_and_standard_error(result.deletion)
    np.testing.assert_allclose(mean, [[1, 0.6, 0.6, 0.6, 0.6, 0.6, 0]])
    other = faithfulness(predict, IMAGES, BACKGROUND, maps, np.array([2, 0, 1, 2, 0]), GRID)
    # Images 0 and 3 (class 2) have probability 1 until patch 4 is deleted, which is first in
    # image 0 and last in image 3; images 1 and 4 (class 0) from then on; image 2 (class 1) never.
    for curves in (other.deletion, other.insertion):
        np.testing.assert_allclose(curves.mean(axis=1), [[0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4]])
    assert other.deletion[0, :, 1].tolist() == [0, 1, 0, 1, 0]


def test_standard_errors_are_those_of_scipy():
    values = np.random.default_rng(0).random((3, 7, 4))
    mean, error = mean_and_standard_error(values)
    np.testing.assert_allclose(mean, values.mean(axis=1))
    np.testing.assert_allclose(error, sem(values, axis=1))
    mean, error = mean_and_standard_error(values[:, :1])
    assert (mean == values[:, 0]).all()
    assert not error.any()


def test_ties_keep_the_order_of_the_patches():
    result = faithfulness(predict, IMAGES, BACKGROUND, np.zeros((1, 5, 6)), CLASSES, GRID)
    np.testing.assert_array_equal(result.deletion[:, 0], [[1, 1, 1, 1, 1, 0, 0]])


def test_only_the_changed_patches_show_the_background():
    batches = []

    def record(images):
        batches.append(images[:])
        return np.zeros((len(images), 3))

    faithfulness(record, IMAGES[:1], BACKGROUND, map_of(5, 1, 0, 2, 3, 4)[:, :1], [0], GRID)
    expected = IMAGES[0].copy()
    for step, (row, column) in enumerate([(1, 2), (0, 1), (0, 0)], 1):
        place = np.s_[2 * row : 2 * row + 2, 4 * column : 4 * column + 4]
        expected[place] = BACKGROUND[place]
        np.testing.assert_array_equal(batches[step][0], expected)
    np.testing.assert_array_equal(batches[0][0], IMAGES[0])
    np.testing.assert_array_equal(batches[6][0], BACKGROUND)
    np.testing.assert_array_equal(batches[7][0], BACKGROUND)
    np.testing.assert_array_equal(batches[13][0], IMAGES[0])


def test_many_patches_change_several_in_a_step():
    images = np.zeros((1, 8, 6, 1), np.uint8)
    unchanged = []

    def record(changed):
        unchanged.append((changed[:] == 0).mean())
        return np.zeros((len(changed), 2))

    maps = np.random.default_rng(0).random((1, 1, 48))
    result = faithfulness(
        record, images, np.ones((8, 6, 1), np.uint8), maps, np.zeros(1, int), (8, 6)
    )
    assert len(unchanged) == 2 * 17
    np.testing.assert_allclose(result.shares, np.arange(0, 49, 3) / 48)
    np.testing.assert_allclose(unchanged[:17], 1 - result.shares)
    np.testing.assert_allclose(result.deletion, 0.5)


def test_brightness_is_the_mean_pixel_of_a_patch():
    images = np.zeros((2, 4, 12, 2), np.uint8)
    images[0, 2:, 4:8] = [10, 30]
    images[1, 0, 8:12, 0] = 40
    brightness = reference_maps(images, GRID, 0)["brightness"]
    np.testing.assert_allclose(brightness, [[0, 0, 0, 0, 20, 0], [0, 0, 10, 0, 0, 0]])


def test_random_order_depends_on_the_seed_and_the_image():
    first, again, other = (reference_maps(IMAGES, GRID, seed)["random"] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert len({tuple(order) for order in first.argsort(axis=-1)}) > 1
