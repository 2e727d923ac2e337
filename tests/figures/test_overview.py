import numpy as np
import pytest

from vit_hk.figures.overview import count_breaks, draw_overview
from vit_hk.figures.saving import save_figure

QUERY = "the class token"


def heatmaps(axes) -> list:
    """Return the drawn arrays of weights, without those of pixels, in drawing order."""
    return [image for image in axes.images if image.get_array().ndim == 2]


@pytest.mark.parametrize(("count", "channels"), [(1, 1), (3, 3), (5, 2), (12, 1)])
def test_overview_shows_each_image_with_its_weights(count, channels):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (count, 8, 12, channels), dtype=np.uint8)
    maps = random.random((count, 2, 3))
    classes = [("a", f"{n}" if n else "a") for n in range(count)]
    figure = draw_overview(images, maps, classes, QUERY)

    tiles = [image for axes in figure.axes for image in heatmaps(axes)]
    assert len(tiles) == count
    for tile, weights in zip(tiles, maps, strict=True):
        np.testing.assert_array_equal(tile.get_array(), weights)
    assert {(tile.norm.vmin, tile.norm.vmax) for tile in tiles} == {(0.0, maps.max())}
    shown = {part.get_suptitle() for part in all_parts(figure)}
    titles = [f"true {n}, predicted a: WRONG" for n in range(1, count)]
    assert {"true a, predicted a", *titles} <= shown
    assert any(QUERY in text for text in shown)


def all_parts(figure) -> list:
    return [figure] + [part for inner in figure.subfigs for part in all_parts(inner)]


def test_frames_of_a_sequence_share_a_scale_and_say_their_epoch():
    images, maps = np.zeros((1, 8, 8, 1), np.uint8), np.full((1, 2, 2), 0.4)
    figure = draw_overview(images, maps, [("a", "a")], QUERY, epoch=7, max_weight=0.9)
    assert figure.get_suptitle().endswith("after epoch 7")
    (tile,) = (image for axes in figure.axes for image in heatmaps(axes))
    assert tile.norm.vmax == 0.9
    (bar,) = (axes for axes in figure.axes if axes.get_xlabel())
    assert bar.get_xlim() == (0.0, pytest.approx(0.9))


def test_overview_has_a_colour_bar():
    images, maps = np.zeros((2, 8, 8, 1), np.uint8), np.full((2, 2, 2), 0.4)
    bars = [
        axes
        for axes in draw_overview(images, maps, [("a", "a")] * 2, QUERY).axes
        if axes.get_xlabel()
    ]
    (bar,) = bars
    assert bar.get_xlim() == (0.0, pytest.approx(0.4))
    assert QUERY in bar.get_xlabel()


@pytest.mark.parametrize("count", [1, 4])
def test_titles_of_the_overview_fit(count, boxes, assert_apart):
    images = np.zeros((count, 8, 8, 1), np.uint8)
    classes = [("automobile", "airplane")] * count
    figure = draw_overview(images, np.ones((count, 2, 2)), classes, "the mean patch")
    headings = [part._suptitle for part in all_parts(figure) if part._suptitle is not None]
    assert len(headings) == count + 1
    assert_apart(boxes(figure, headings))


def test_maps_of_zeros_can_be_drawn(tmp_path):
    # All attention may go to class and register tokens.
    images, maps = np.zeros((1, 8, 8, 1), np.uint8), np.zeros((1, 2, 2))
    save_figure(draw_overview(images, maps, [("a", "b")], QUERY), tmp_path / "overview.png")


def test_frames_with_room_for_the_longest_title_have_one_size():
    images, maps = np.zeros((2, 28, 28, 1), np.uint8), np.ones((2, 2, 2))
    long = ("a name of a class that is long", "another name of a class that is long")
    epochs = [[("a", "a"), ("b", "b")], [("a", "a"), long]]
    breaks = max(map(count_breaks, epochs))
    assert breaks > count_breaks(epochs[0])
    first, second = (
        draw_overview(images, maps, classes, QUERY, min_breaks=breaks).get_size_inches()
        for classes in epochs
    )
    np.testing.assert_array_equal(first, second)
