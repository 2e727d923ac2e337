import numpy as np
import pytest

from vit_hk.figures.outline import image_outline
from vit_hk.figures.right_wrong import draw_right_wrong


def make(count: int, height: int = 8, width: int = 12):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (count, 4, height, width, 1), dtype=np.uint8)
    maps = random.dirichlet(np.ones(6), (count, 4)).reshape(count, 4, 2, 3)
    return images, maps, [("cat", "dog")] * count, np.ones((count, 4), bool)


def test_each_tile_shows_its_map_and_the_outline_of_its_image():
    images, maps, classes, exists = make(3)
    figure = draw_right_wrong(images, maps, classes, exists)
    tiles = [axes for axes in figure.axes if axes.images and axes.get_title()]
    assert len(tiles) == 12
    for place, axes in zip(np.ndindex(3, 4), tiles, strict=True):
        (weights,) = axes.images
        (outline,) = axes.collections
        for drawn, line in zip(outline.get_segments(), image_outline(images[place]), strict=True):
            np.testing.assert_array_equal(drawn, line)
        np.testing.assert_array_equal(weights.get_array(), maps[place])
        assert (weights.norm.vmin, weights.norm.vmax) == (0.0, maps.max())


def test_titles_state_the_class_that_relevance_is_for():
    images, maps, classes, exists = make(1)
    titles = [axes.get_title() for axes in draw_right_wrong(images, maps, classes, exists).axes]
    assert titles[:4] == [
        "true dog, predicted dog:\nrelevance for dog",
        "true dog, predicted cat:\nrelevance for dog",
        "same image:\nrelevance for cat",
        "true cat, predicted cat:\nrelevance for cat",
    ]


@pytest.mark.parametrize(("column", "name"), [(0, "dog"), (3, "cat")])
def test_tile_of_a_missing_example_says_what_is_missing(column, name):
    images, maps, classes, exists = make(1)
    exists[0, column] = False
    tile = draw_right_wrong(images, maps, classes, exists).axes[column]
    assert not tile.images
    words = tile.texts[0].get_text().split()
    assert " ".join(words) == f"no image of {name} is classified correctly"


def test_tile_of_a_missing_example_has_no_map():
    images, maps, classes, exists = make(1)
    exists[0, 3] = False
    maps[0, 3, 0, 0] = 9.0  # of another image, which is not drawn
    axes = draw_right_wrong(images, maps, classes, exists).axes
    assert [len(tile.images) for tile in axes[:4]] == [1, 1, 1, 0]
    assert axes[3].get_title() == ""
    assert axes[0].images[0].norm.vmax == maps[0, :3].max()


def test_without_mistakes_the_title_says_so():
    assert "No mistakes" in draw_right_wrong(*make(0)).get_suptitle()


@pytest.mark.parametrize(("count", "height", "width"), [(1, 8, 12), (4, 28, 28), (2, 4, 16)])
def test_no_text_is_cut_off_or_overlaps_another(count, height, width, boxes, assert_apart):
    figure = draw_right_wrong(*make(count, height, width))
    texts = [figure._suptitle, figure.axes[-1].xaxis.label]
    assert_apart(boxes(figure, texts + [axes.title for axes in figure.axes]))
