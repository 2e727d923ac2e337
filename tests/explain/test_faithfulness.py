import numpy as np
import pytest

from vit_hk.explain.faithfulness import faithfulness, reference_maps

GRID = (2, 3)  # patches of 2 x 4 pixels: images of 4 x 12


def predict(images: np.ndarray) -> np.ndarray:
    """Class 2 where patch 4 (second row, second column) shows the image's 200, else class 0."""
    assert images.dtype == np.uint8
    seen = (images[:, 2:4, 4:8] == 200).all(axis=(1, 2, 3))
    logits = np.zeros((len(images), 3))
    logits[np.arange(len(images)), np.where(seen, 2, 0)] = 1000
    return logits


IMAGES = np.full((5, 4, 12, 2), 200, np.uint8)
BACKGROUND = np.random.default_rng(0).integers(0, 100, (4, 12, 2), dtype=np.uint8)
CLASSES = np.full(5, 2)


def naming(*order: int) -> np.ndarray:
    """A map of one method and 5 images whose most important patches are in this order."""
    ranks = np.empty(6)
    ranks[list(order)] = np.arange(6, 0, -1)
    return np.tile(ranks, (1, 5, 1))


def test_a_map_that_names_the_deciding_patch_first():
    result = faithfulness(predict, IMAGES, BACKGROUND, naming(4, 0, 1, 2, 3, 5), CLASSES, GRID)
    np.testing.assert_allclose(result.shares, np.arange(7) / 6)
    np.testing.assert_array_equal(result.deletion, [[1, 0, 0, 0, 0, 0, 0]])
    np.testing.assert_array_equal(result.insertion, [[0, 1, 1, 1, 1, 1, 1]])
    # Areas 1/12 and 11/12.
    assert result.score == pytest.approx([10 / 12])


def test_maps_that_name_it_late():
    maps = np.concatenate([naming(0, 1, 4, 2, 3, 5), naming(5, 3, 2, 1, 0, 4)])
    result = faithfulness(predict, IMAGES, BACKGROUND, maps, CLASSES, GRID)
    np.testing.assert_array_equal(result.deletion, [[1, 1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1, 0]])
    np.testing.assert_array_equal(result.insertion, [[0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0, 1]])
    assert result.score == pytest.approx([7 / 12 - 5 / 12, -10 / 12])


def test_curves_are_means_over_images_of_the_class_asked_for():
    maps = np.concatenate(
        [naming(4, 0, 1, 2, 3, 5)[:, :2], naming(0, 1, 2, 3, 5, 4)[:, :3]], axis=1
    )
    result = faithfulness(predict, IMAGES, BACKGROUND, maps, CLASSES, GRID)
    np.testing.assert_allclose(result.deletion, [[1, 0.6, 0.6, 0.6, 0.6, 0.6, 0]])
    other = faithfulness(predict, IMAGES, BACKGROUND, maps, np.array([2, 0, 1, 2, 0]), GRID)
    # First image: gone at once. Second, class 0: there at once. Third: never. Last two: at the end.
    np.testing.assert_allclose(other.deletion, [[0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4]])
    np.testing.assert_allclose(other.insertion, [[0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4]])


def test_of_equal_numbers_the_first_comes_first():
    result = faithfulness(predict, IMAGES, BACKGROUND, np.zeros((1, 5, 6)), CLASSES, GRID)
    np.testing.assert_array_equal(result.deletion, [[1, 1, 1, 1, 1, 0, 0]])


def test_the_patch_becomes_the_background_and_nothing_else_does():
    seen = []

    def remember(images):
        seen.append(images.copy())
        return np.zeros((len(images), 3))

    faithfulness(remember, IMAGES[:1], BACKGROUND, naming(5, 1, 0, 2, 3, 4)[:, :1], [0], GRID)
    expected = IMAGES[0].copy()
    for step, (row, column) in enumerate([(1, 2), (0, 1), (0, 0)], 1):
        place = np.s_[2 * row : 2 * row + 2, 4 * column : 4 * column + 4]
        expected[place] = BACKGROUND[place]
        np.testing.assert_array_equal(seen[step][0], expected)
    np.testing.assert_array_equal(seen[0][0], IMAGES[0])
    np.testing.assert_array_equal(seen[6][0], BACKGROUND)
    np.testing.assert_array_equal(seen[7][0], BACKGROUND)
    np.testing.assert_array_equal(seen[13][0], IMAGES[0])


def test_many_patches_go_several_at_a_time():
    images = np.zeros((1, 8, 6, 1), np.uint8)
    calls = []

    def count(changed):
        calls.append((changed == 0).mean())
        return np.zeros((len(changed), 2))

    maps = np.random.default_rng(0).random((1, 1, 48))
    result = faithfulness(
        count, images, np.ones((8, 6, 1), np.uint8), maps, np.zeros(1, int), (8, 6)
    )
    assert len(calls) == 2 * 17
    np.testing.assert_allclose(result.shares, np.arange(0, 49, 3) / 48)
    np.testing.assert_allclose(calls[:17], 1 - result.shares)
    np.testing.assert_allclose(result.deletion, 0.5)


def test_brightness_is_the_mean_pixel_of_a_patch():
    images = np.zeros((2, 4, 12, 2), np.uint8)
    images[0, 2:, 4:8] = [10, 30]
    images[1, 0, 8:12, 0] = 40
    brightness = reference_maps(images, GRID, 0)["brightness"]
    np.testing.assert_allclose(brightness, [[0, 0, 0, 0, 20, 0], [0, 0, 10, 0, 0, 0]])


def test_random_order_follows_from_the_seed_and_differs_from_image_to_image():
    first, again, other = (reference_maps(IMAGES, GRID, seed)["random"] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert len({tuple(order) for order in first.argsort(axis=-1)}) > 1
