import numpy as np
import pytest

from vit_hk.figures.class_maps import HEADINGS, draw_class_maps


def make(count: int, channels: int = 1, rows: int = 2, columns: int = 3):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (count, 4 * rows, 4 * columns, channels), dtype=np.uint8)
    maps = random.dirichlet(np.ones(rows * columns), (3, count))
    classes = [("cat", "cat") if number % 2 else ("cat", "dog") for number in range(count)]
    return images, maps.reshape(3, count, rows, columns), classes


def heatmaps(figure) -> list:
    return [image for axes in figure.axes for image in axes.images if image.get_array().ndim == 2]


def texts(figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


@pytest.mark.parametrize(("count", "channels"), [(1, 1), (5, 3), (8, 2)])
def test_each_row_shows_its_maps_on_the_scale_of_their_kind(count, channels):
    images, maps, classes = make(count, channels)
    tiles = heatmaps(draw_class_maps(images, *maps, classes))
    expected = []
    for number in range(count):
        wrong = classes[number][0] != classes[number][1]
        expected += [(kind, maps[kind, number]) for kind in (0, 1, 2)[: 3 if wrong else 2]]
    assert len(tiles) == len(expected)
    for kind, weights in expected:
        (tile,) = (tile for tile in tiles if np.array_equal(tile.get_array(), weights))
        largest = maps[1:].max() if kind else maps[0].max()
        assert (tile.norm.vmin, tile.norm.vmax) == (0.0, largest)


def test_rows_are_labelled_and_correct_ones_show_one_relevance_map():
    shown = texts(draw_class_maps(*make(2)[:1], *make(2)[1], make(2)[2]))
    assert shown == ["true dog,\npredicted cat", "true cat", "same class"]


@pytest.mark.parametrize(("count", "blocks"), [(6, 1), (7, 2)])
def test_each_block_has_column_headings(count, blocks):
    images, maps, classes = make(count)
    figure = draw_class_maps(images, *maps, classes)
    headings = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert headings == list(HEADINGS) * blocks


def test_each_kind_of_map_has_a_colour_bar_with_its_scale_and_unit():
    images, maps, classes = make(3)
    bars = draw_class_maps(images, *maps, classes).axes[-2:]
    for bar, kind, largest in zip(
        bars, ("relevance", "rollout"), (maps[1:].max(), maps[0].max()), strict=True
    ):
        assert bar.get_xlim() == (0.0, pytest.approx(largest))
        assert bar.get_xlabel().startswith(f"{kind}, as a share of the map's sum")
        assert "0.167" in bar.get_xlabel()


# test_class_names_in_figures.py draws two blocks.
@pytest.mark.parametrize(("count", "rows", "columns"), [(1, 2, 3), (3, 1, 6), (3, 5, 1)])
def test_no_text_is_cut_off_or_overlaps_another(count, rows, columns, boxes, assert_apart):
    images, maps, classes = make(count, rows=rows, columns=columns)
    figure = draw_class_maps(images, *maps, classes)
    labels = [figure._suptitle, *(bar.xaxis.label for bar in figure.axes[-2:])]
    for axes in figure.axes:
        labels += [axes.title, *axes.texts]
    assert_apart(boxes(figure, labels))
