import numpy as np
import pytest
from matplotlib.figure import Figure
from sheet_panels import ATTENTION, IMAGE, colors_of_patches, colors_of_weights, panels

from vit_hk.figures.saving import save_figure
from vit_hk.figures.sheet import draw_sheet

QUERY = "the class token"
NUM_TOKENS = 33  # with registers


def make(
    layers: int = 2, heads: int = 3, rows: int = 2, columns: int = 4, channels: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Return an image with 4 x 4 pixels a patch, and weights that sum to 1 over its patches."""
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (4 * rows, 4 * columns, channels), dtype=np.uint8)
    maps = random.dirichlet(np.ones(rows * columns), (layers, heads))
    return image, maps.reshape(layers, heads, rows, columns)


def draw(image: np.ndarray, maps: np.ndarray) -> Figure:
    return draw_sheet(
        image, maps, index=5, actual="cat", predicted="dog", probability=0.98, query_name=QUERY,
        num_tokens=NUM_TOKENS,
    )  # fmt: skip


def test_each_tile_shows_its_layer_and_head_on_one_colour_scale():
    image, maps = make()
    axes = panels(draw(image, maps))[ATTENTION]
    np.testing.assert_array_equal(colors_of_patches(axes, *maps.shape), colors_of_weights(maps))


def test_large_images_have_tiles_of_the_size_that_a_figure_shows():
    image = np.zeros((1000, 2000, 1), np.uint8)
    image[250:750, 500:1500] = 255
    _, maps = make()
    axes = panels(draw(image, maps))[ATTENTION]
    (picture,) = axes.images
    assert max(picture.get_array().shape) < 2000
    left, right = axes.get_xticks()[:2]
    width = (right - left) / 1.08  # of a tile, without its gap
    (lines,) = axes.collections
    first = lines.get_segments()[0]
    np.testing.assert_allclose(np.ptp(first[:, 0]), width / 2, rtol=0.05)
    np.testing.assert_allclose(first[:, 0].mean(), left, atol=width / 50)


def test_outline_of_the_image_lies_on_each_tile():
    image = np.zeros((8, 16, 1), np.uint8)
    image[2:6, 4:12] = 255
    axes = panels(draw(image, make()[1]))[ATTENTION]
    (outline,) = axes.collections
    assert len(outline.get_segments()) == 6  # a line around one rectangle in each of 2 x 3 tiles
    centers = [
        segment.min(axis=0) + np.ptp(segment, axis=0) / 2 for segment in outline.get_segments()
    ]
    expected = [(x, y) for y in axes.get_yticks() for x in axes.get_xticks()]
    np.testing.assert_allclose(centers, expected, atol=0.05)


def test_colour_bar_has_the_scale_of_the_tiles():
    image, maps = make()
    bar = draw(image, maps).axes[-1]
    assert bar.get_xlim() == (0.0, pytest.approx(maps.max()))
    assert QUERY in bar.get_xlabel()
    assert "uniform over all tokens: 0.0303)" in bar.get_xlabel()  # 1 / 33, as weights sum to 1


def test_layers_go_down_and_heads_to_the_right():
    image, maps = make()
    axes = panels(draw(image, maps))[ATTENTION]
    (x_first, x_last), (y_first, y_last) = axes.get_xlim(), axes.get_ylim()
    assert x_first < x_last
    assert y_first > y_last
    assert (np.diff(axes.get_xticks()) > 16).all()  # a tile is 16 x 8 pixels
    assert (np.diff(axes.get_yticks()) > 8).all()
    assert [text.get_text() for text in axes.get_yticklabels()] == ["layer 1", "layer 2"]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["head 1", "head 2", "head 3"]


def test_tiles_have_a_gap_and_the_aspect_of_the_image():
    image, maps = make(layers=2, heads=2, rows=2, columns=4)
    axes = panels(draw(image, maps))[ATTENTION]
    assert axes.get_aspect() == 1
    (picture,) = axes.images
    white = (picture.get_array() == 255).all(axis=-1)
    assert np.flatnonzero(white.all(axis=0)).tolist() == [16]  # between 16 columns and 16
    assert np.flatnonzero(white.all(axis=1)).tolist() == [8]


def test_patch_borders_lie_between_the_patches():
    image, maps = make(rows=2, columns=4)
    axes = panels(draw(image, maps))[IMAGE]
    across = sorted(line.get_ydata()[0] for line in axes.lines if line.get_ydata()[0] != 0)
    down = sorted(line.get_xdata()[0] for line in axes.lines if line.get_xdata()[0] != 0)
    # Pixel n covers n - 0.5 to n + 0.5; a patch has 4 pixels.
    assert across == [3.5]
    assert down == [3.5, 7.5, 11.5]


@pytest.mark.parametrize(
    ("predicted", "title"),
    [
        ("dog", "Test image 5: true cat, predicted dog (98 %): WRONG"),
        ("cat", "Test image 5: true cat, predicted cat (98 %)"),
    ],
)
def test_title_states_image_and_classes(predicted, title):
    figure = draw_sheet(
        *make(), index=5, actual="cat", predicted=predicted, probability=0.98, query_name=QUERY,
        num_tokens=NUM_TOKENS,
    )  # fmt: skip
    assert figure.get_suptitle() == title


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
    figure = draw(image, maps)
    texts = [figure._suptitle]
    for axes in figure.axes:
        texts += [axes.title, axes.xaxis.label, *axes.get_xticklabels(), *axes.get_yticklabels()]
    assert_apart(boxes(figure, texts))


def test_maps_of_zeros_can_be_drawn(tmp_path):
    # All attention may go to class and register tokens.
    image, maps = make()
    save_figure(draw(image, 0 * maps), tmp_path / "sheet.png")


def test_colours_differ_in_grey_too():
    # A larger weight has a higher luminance.
    image, _ = make(layers=1, heads=1, rows=1, columns=20)
    maps = np.linspace(0, 1, 20).reshape(1, 1, 1, 20)
    axes = panels(draw(image, maps))[ATTENTION]
    colors = colors_of_patches(axes, *maps.shape)[0, 0, 0]
    assert (np.diff(colors @ [0.2126, 0.7152, 0.0722]) > 0).all()
