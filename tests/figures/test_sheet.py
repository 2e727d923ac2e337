import numpy as np
import pytest
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from vit_hk.figures.saving import save_figure
from vit_hk.figures.sheet import draw_sheet

READER = "the class token"


def make(
    layers: int = 2, heads: int = 3, rows: int = 2, columns: int = 4, channels: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """An image of 4 x 4 pixels a patch, and weights that sum to 1 over its patches."""
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (4 * rows, 4 * columns, channels), dtype=np.uint8)
    maps = random.dirichlet(np.ones(rows * columns), (layers, heads))
    return image, maps.reshape(layers, heads, rows, columns)


def panels(figure: Figure) -> dict[str, object]:
    return {axes.get_title(): axes for axes in figure.axes if axes.get_title()}


def heat(axes) -> list:
    """The images of weights, not those of pixels, in the order of drawing."""
    return [image for image in axes.images if image.get_array().ndim == 2]


def test_all_tiles_share_one_colour_scale():
    image, maps = make()
    figure = draw_sheet(image, maps, "title", READER)
    tiles = [image for axes in figure.axes for image in heat(axes)]
    assert len(tiles) == 2 * 2 * 3
    assert {(tile.norm.vmin, tile.norm.vmax) for tile in tiles} == {(0.0, maps.max())}
    assert {tile.get_cmap().name for tile in tiles} == {"viridis"}


def test_colour_bar_has_the_scale_of_the_tiles():
    image, maps = make()
    bar = draw_sheet(image, maps, "title", READER).axes[-1]
    assert bar.get_xlim() == (0.0, pytest.approx(maps.max()))
    assert READER in bar.get_xlabel()
    assert "0.125" in bar.get_xlabel()  # 1 / 8 patches


def test_each_tile_shows_its_layer_and_head():
    image, maps = make()
    shown = panels(draw_sheet(image, maps, "title", READER))
    for name in ("attention alone", "attention over the image"):
        tiles = heat(shown[name])
        for place, tile in zip(np.ndindex(2, 3), tiles, strict=True):
            np.testing.assert_array_equal(tile.get_array(), maps[place])


def test_layers_go_down_and_heads_to_the_right():
    image, maps = make()
    axes = panels(draw_sheet(image, maps, "title", READER))["attention alone"]
    (x_first, x_last), (y_first, y_last) = axes.get_xlim(), axes.get_ylim()
    assert x_first < x_last
    assert y_first > y_last
    middles = [
        ((left + right) / 2, (bottom + top) / 2)
        for left, right, bottom, top in (tile.get_extent() for tile in heat(axes))
    ]
    columns, rows = axes.get_xticks(), axes.get_yticks()
    np.testing.assert_allclose(middles, [(x, y) for y in rows for x in columns])
    assert [text.get_text() for text in axes.get_yticklabels()] == ["layer 1", "layer 2"]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["head 1", "head 2", "head 3"]


def test_first_row_of_patches_is_on_top():
    image, maps = make()
    axes = panels(draw_sheet(image, maps, "title", READER))["attention alone"]
    for tile in heat(axes):
        _, _, bottom, top = tile.get_extent()
        assert tile.origin == "upper"
        assert top < bottom  # on an axis that points down


@pytest.mark.parametrize(("rows", "columns"), [(2, 4), (4, 2), (3, 3)])
def test_tiles_keep_the_shape_of_the_image(rows, columns):
    image, maps = make(rows=rows, columns=columns)
    axes = panels(draw_sheet(image, maps, "title", READER))["attention over the image"]
    assert axes.get_aspect() == 1
    for tile in axes.images:
        left, right, bottom, top = tile.get_extent()
        assert (bottom - top) / (right - left) == pytest.approx(rows / columns)


def test_weights_lie_over_the_pixels_of_the_image():
    image, maps = make(channels=3)
    axes = panels(draw_sheet(image, maps, "title", READER))["attention over the image"]
    pixels = [drawn for drawn in axes.images if drawn.get_array().ndim == 3]
    assert len(pixels) == 6
    for below, above in zip(pixels, heat(axes), strict=True):
        np.testing.assert_array_equal(below.get_array(), image)
        assert below.get_extent() == above.get_extent()
        assert above.get_alpha() < 1


def test_patch_borders_lie_between_the_patches():
    image, maps = make(rows=2, columns=4)
    axes = panels(draw_sheet(image, maps, "title", READER))["the image\nand its patches"]
    across = sorted(line.get_ydata()[0] for line in axes.lines if line.get_ydata()[0] != 0)
    down = sorted(line.get_xdata()[0] for line in axes.lines if line.get_xdata()[0] != 0)
    # Pixel n covers n - 0.5 to n + 0.5; a patch has 4 pixels.
    assert across == [3.5]
    assert down == [3.5, 7.5, 11.5]


def test_title_stands_above():
    image, maps = make()
    title = "Test image 5: predicted 3 (98 % sure), is 5: WRONG"
    assert draw_sheet(image, maps, title, READER).get_suptitle() == title


@pytest.mark.parametrize(
    "shape",
    [
        {"layers": 1, "heads": 1},
        {"layers": 1, "heads": 1, "rows": 1, "columns": 1},
        {"layers": 12, "heads": 12, "channels": 3},
        {"layers": 12, "heads": 1},
        {"layers": 1, "heads": 12},
        {"rows": 1, "columns": 12, "channels": 2},
        {"rows": 12, "columns": 1},
    ],
    ids=str,
)
def test_no_text_is_cut_off_or_overlaps_another(shape, boxes, assert_apart):
    image, maps = make(**shape)
    figure = draw_sheet(image, maps, "Test image 5: predicted 3 (98 % sure), is 5", READER)
    texts = [figure._suptitle]
    for axes in figure.axes:
        texts += [axes.title, axes.xaxis.label, *axes.get_xticklabels(), *axes.get_yticklabels()]
    assert_apart(boxes(figure, texts))


def test_maps_of_zeros_can_be_drawn(tmp_path):
    # All attention may go to class and register tokens.
    image, maps = make()
    save_figure(draw_sheet(image, 0 * maps, "title", READER), tmp_path / "sheet.png")


def test_colours_are_told_apart_in_grey():
    # Equal steps of the weight are steps of the same sign in brightness.
    image, maps = make()
    tile = heat(panels(draw_sheet(image, maps, "title", READER))["attention alone"])[0]
    colours = tile.get_cmap()(Normalize(0, 1)(np.linspace(0, 1, 20)))[:, :3]
    assert (np.diff(colours @ [0.2126, 0.7152, 0.0722]) > 0).all()
