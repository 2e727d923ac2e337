import jax
import numpy as np
import pytest
from scipy.ndimage import find_objects, label

from vit_hk.training.erasing import random_erase, rectangle_sizes

HEIGHT, WIDTH, COUNT = 24, 36, 2000


def keys_of(count):
    return jax.random.split(jax.random.key(0), count)


@pytest.fixture(scope="module")
def rectangles():
    """Return the erased rectangles of many images, as rows and columns [start, end]."""
    images = np.full((COUNT, HEIGHT, WIDTH, 2), 9, np.uint8)
    erased = jax.jit(lambda keys: random_erase(keys, images, 0.25))(keys_of(COUNT))
    assert erased.dtype == np.uint8
    found = []
    for image in np.asarray(erased):
        np.testing.assert_array_equal(image[..., 0], image[..., 1])
        is_black = image[..., 0] == 0
        if is_black.any():
            (box,) = find_objects(label(is_black)[0])
            assert is_black[box].all()  # one rectangle, and nothing but black in it
            found.append([[side.start, side.stop] for side in box])
    return np.array(found)


def test_as_many_images_are_erased_as_asked_for(rectangles):
    # Five standard deviations of a binomial distribution.
    assert abs(len(rectangles) - COUNT / 4) < 5 * (COUNT * 0.25 * 0.75) ** 0.5


def test_rectangles_have_the_areas_and_aspects_of_the_paper(rectangles):
    height, width = np.diff(rectangles, axis=-1)[..., 0].T
    share = height * width / (HEIGHT * WIDTH)
    # The rounding of a side of at least 3 pixels changes an area by up to a sixth.
    assert 0.016 < share.min() < 0.06
    assert 0.35 < share.max() < 0.43
    assert share.mean() == pytest.approx(0.21, abs=0.02)  # uniform, but for rectangles that are cut
    ratio = (height / width)[(height < HEIGHT) & (width < WIDTH)]
    assert 0.25 < ratio.min() < 0.5
    assert 2 < ratio.max() < 4


def test_rectangles_reach_all_sides(rectangles):
    (top, bottom), (left, right) = rectangles.transpose(1, 2, 0)
    assert (top.min(), left.min()) == (0, 0)
    assert (bottom.max(), right.max()) == (HEIGHT, WIDTH)


def test_sizes_follow_the_formulas_of_the_paper():
    sizes = rectangle_sizes(1000, 1000) / 1000
    area, aspect = sizes.prod(axis=1), sizes[:, 0] / sizes[:, 1]
    inside = (sizes < 1).all(axis=1)  # the others are cut
    assert area[inside].min() == pytest.approx(0.02 + 0.38 / 128, rel=0.02)
    assert area[inside].max() == pytest.approx(0.4 - 0.38 / 128, rel=0.02)
    assert aspect[inside].min() == pytest.approx(0.3 + 3.03 / 128, rel=0.02)
    assert aspect[inside].max() == pytest.approx(1 / 0.3 - 3.03 / 128, rel=0.02)
    assert rectangle_sizes(1, 1).tolist() == [[1, 1]] * 4096
