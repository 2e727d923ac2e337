import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from vit_hk.figures.overlay import add_colorbar, draw_overlay

WEIGHTS = np.array([[0.0, 0.01, 0.02], [0.1, 0.25, 0.5]])


def rendered(image: np.ndarray) -> np.ndarray:
    """Return the pixels of a figure that a map with 100 x 100 pixels for each patch fills."""
    figure = Figure(figsize=(3, 2), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    draw_overlay(axes, image, WEIGHTS, 0.5)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def test_colours_are_those_of_the_bar_whatever_the_image():
    expected = 255 * colormaps["viridis"](np.sqrt(WEIGHTS / 0.5))[..., :3]
    for image in (np.zeros((20, 30, 1), np.uint8), np.full((20, 30, 3), 255, np.uint8)):
        centers = rendered(image)[50::100, 50::100].astype(float)
        np.testing.assert_allclose(centers, expected, atol=1)


def test_outline_is_white_with_a_dark_edge():
    image = np.zeros((20, 30, 1), np.uint8)
    image[:, 15:] = 255
    row = rendered(image)[50].astype(int)  # across the edge, at pixel 150
    outline = slice(145, 156)
    assert row[outline].sum(axis=-1).max() > 3 * 200
    assert row[outline].sum(axis=-1).min() < 3 * 60
    np.testing.assert_array_equal(row[[120, 180]], rendered(np.zeros_like(image))[50, [120, 180]])


def test_bar_has_the_colours_of_the_tiles_and_names_its_scale():
    figure = Figure()
    grid = figure.subplots(squeeze=False)
    tiles = draw_overlay(grid[0, 0], np.zeros((20, 30, 1), np.uint8), WEIGHTS, 0.5)
    add_colorbar(figure, grid, 0.5, "a unit")
    bar = figure.axes[-1]
    assert bar.get_xlabel() == "a unit\nsquare-root colour scale"
    # A weight lies on the bar where its colour is.
    x = bar.transData.transform([(weight, 0) for weight in (0.0, 0.02, 0.5)])[:, 0]
    np.testing.assert_allclose((x[1] - x[0]) / (x[2] - x[0]), tiles.norm(0.02), rtol=1e-3)
