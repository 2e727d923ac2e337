import numpy as np
import pytest

from vit_hk.figures.filters import draw_filters, draw_kernels


def make(count: int, channels: int):
    images = np.random.default_rng(0).normal(size=(count, 4, 4, channels))
    return images, np.linspace(0.3, 0.1, count) / 4


def tiles_of(figure) -> list:
    return [axes for axes in figure.axes if axes.images and axes.get_title()]


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_channels_stand_side_by_side_on_one_symmetric_scale(channels):
    images, shares = make(9, channels)
    tiles = tiles_of(draw_filters(images, shares, 64))
    assert len(tiles) == 9
    largest = np.abs(images).max()
    for image, axes in zip(images, tiles, strict=True):
        (shown,) = axes.images
        np.testing.assert_array_equal(shown.get_array(), np.hstack(np.moveaxis(image, -1, 0)))
        assert (shown.norm.vmin, shown.norm.vmax) == (-largest, largest)


def test_three_channels_become_rgb_with_grey_as_zero():
    images, shares = make(3, 3)
    images[0, 0, 0] = 0
    tiles = tiles_of(draw_filters(images, shares, 64))
    for image, axes in zip(images, tiles, strict=True):
        np.testing.assert_allclose(
            axes.images[0].get_array(), 0.5 + image / np.abs(images).max() / 2
        )
    np.testing.assert_array_equal(tiles[0].images[0].get_array()[0, 0], 0.5)


def test_shares_of_the_variance_are_titles():
    figure = draw_filters(*make(3, 1), 64)
    assert [axes.get_title() for axes in tiles_of(figure)] == ["7.5 %", "5.0 %", "2.5 %"]
    assert "(15 % in total)" in figure.get_suptitle()
    assert "64 filters" in figure.get_suptitle()


@pytest.mark.parametrize(("count", "channels"), [(1, 1), (28, 3), (8, 2)])
def test_no_text_is_cut_off_or_overlaps_another(count, channels, boxes, assert_apart):
    figure = draw_filters(*make(count, channels), 64)
    texts = [figure._suptitle, figure.axes[-1].xaxis.label]
    assert_apart(boxes(figure, texts + [axes.title for axes in figure.axes]))


def test_filters_of_zeros_can_be_tiles_of(boxes):
    for channels in (1, 3):
        figure = draw_filters(np.zeros((1, 2, 2, channels)), np.zeros(1), 1)
        boxes(figure, [figure._suptitle])


@pytest.mark.parametrize(("count", "channels"), [(8, 1), (28, 3)])
def test_stem_kernels_are_numbered_and_keep_their_shape(count, channels, boxes, assert_apart):
    kernels = np.random.default_rng(0).normal(size=(count, 3, 3, channels))
    figure = draw_kernels(kernels, 28)
    tiles = tiles_of(figure)
    assert [axes.get_title() for axes in tiles] == [str(number + 1) for number in range(count)]
    assert all(axes.images[0].get_array().shape[:2] == (3, 3) for axes in tiles)
    assert ("8 of the 28" in figure.get_suptitle()) == (count == 8)
    assert_apart(boxes(figure, [figure._suptitle, *(axes.title for axes in tiles)]))
