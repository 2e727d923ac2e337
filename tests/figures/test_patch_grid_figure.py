import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.patches import Rectangle

from vit_hk.figures.patch_grid import draw_patch_grid


def make(rows: int = 2, columns: int = 3, image: np.ndarray | None = None):
    tiles = np.random.default_rng(0).uniform(-1, 1, (rows, columns, rows, columns))
    figure = draw_patch_grid(tiles, "a title", "cosine", "RdBu_r", Normalize(-1.0, 1.0), image)
    return tiles, figure


def heatmaps(axes) -> list:
    return [image for image in axes.images if image.get_array().ndim == 2]


def test_each_tile_lies_at_the_position_of_its_patch():
    tiles, figure = make()
    axes = figure.axes[0]
    centers = []
    for place, tile in zip(np.ndindex(2, 3), heatmaps(axes), strict=True):
        np.testing.assert_array_equal(tile.get_array(), tiles[place])
        assert (tile.norm.vmin, tile.norm.vmax) == (-1.0, 1.0)
        left, right, bottom, top = tile.get_extent()
        assert (bottom - top) / (right - left) == pytest.approx(2 / 3)
        centers.append(((left + right) / 2, (bottom + top) / 2))
    ticks = [(x, y) for y in axes.get_yticks() for x in axes.get_xticks()]
    np.testing.assert_allclose(centers, ticks)
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first row is on top
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "2", "3"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["1", "2"]


def test_frame_marks_the_patch_on_its_own_tile():
    _, figure = make()
    axes = figure.axes[0]
    frames = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    for (row, column), frame, tile in zip(np.ndindex(2, 3), frames, heatmaps(axes), strict=True):
        left, right, bottom, top = tile.get_extent()
        assert frame.get_x() == pytest.approx(left + (right - left) * column / 3)
        assert frame.get_y() == pytest.approx(top + (bottom - top) * row / 2)
        assert frame.get_width() == pytest.approx((right - left) / 3)
        assert frame.get_height() == pytest.approx((bottom - top) / 2)


def test_outline_of_the_image_lies_on_each_tile():
    image = np.zeros((8, 12, 3), np.uint8)
    image[2:6, 3:9] = 255  # from a quarter to three quarters of both sides
    axes = make(image=image)[1].axes[0]
    outlines = [drawn for drawn in axes.collections if isinstance(drawn, LineCollection)]
    for outline, tile in zip(outlines, heatmaps(axes), strict=True):
        left, right, bottom, top = tile.get_extent()
        x, y = np.concatenate(outline.get_segments()).T
        found = [(x.min() - left) / (right - left), (x.max() - left) / (right - left)]
        found += [(y.min() - top) / (bottom - top), (y.max() - top) / (bottom - top)]
        np.testing.assert_allclose(found, [0.25, 0.75] * 2, atol=0.05)
        assert tile.get_alpha() is None


def test_colour_bar_has_scale_and_unit():
    bar = make()[1].axes[-1]
    assert bar.get_xlim() == (-1.0, 1.0)
    assert bar.get_xlabel() == "cosine"


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (4, 4), (1, 8), (8, 1), (8, 8)])
def test_no_text_is_cut_off_or_overlaps_another(rows, columns, boxes, assert_apart):
    figure = make(rows, columns)[1]
    axes, bar = figure.axes
    texts = [figure._suptitle, axes.xaxis.label, axes.yaxis.label, bar.xaxis.label]
    assert_apart(boxes(figure, [*texts, *axes.get_xticklabels(), *axes.get_yticklabels()]))
