import numpy as np
import pytest

from vit_hk.figures.snapshots import draw_snapshots

QUERY = "the class token"


def make(count: int = 3, steps: int = 2, rows: int = 2, columns: int = 3, channels: int = 1):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (count, 4 * rows, 4 * columns, channels), dtype=np.uint8)
    maps = random.dirichlet(np.ones(rows * columns), (steps, count))
    maps = maps.reshape(steps, count, rows, columns)
    labels = [f"class {n}" for n in range(count)]
    predicted = [[f"guess {s}{n}" for n in range(count)] for s in range(steps)]
    confidence = np.linspace(0.1, 1, steps * count).reshape(steps, count)
    epochs = [2**n for n in range(steps)]
    return maps, draw_snapshots(
        images, maps, epochs, actual=labels, predicted=predicted, confidence=confidence,
        query_name=QUERY,
    )  # fmt: skip


def test_rows_are_images_and_columns_epochs_on_one_scale():
    maps, figure = make()
    grid = np.array(figure.axes[:9]).reshape(3, 3)
    for image in range(3):
        for step in range(2):
            weights = grid[image, step + 1].images[-1]
            np.testing.assert_array_equal(weights.get_array(), maps[step, image])
            assert (weights.norm.vmin, weights.norm.vmax) == (0.0, maps.max())
            percent = np.linspace(10, 100, 6).reshape(2, 3)[step, image]
            title = f"guess {step}{image} ({percent:.0f} %)"
            assert grid[image, step + 1].get_title().endswith(title)
        assert grid[image, 0].get_title() == f"true class {image}"
    assert grid[0, 2].get_title().startswith("after epoch 2\n")


def test_colour_bar_has_the_scale_and_names_the_query():
    maps, figure = make()
    bar = figure.axes[-1]
    assert bar.get_xlim() == (0.0, pytest.approx(maps.max()))
    assert QUERY in bar.get_xlabel()


@pytest.mark.parametrize(
    "shape",
    [
        {"count": 1, "steps": 1},
        {"count": 4, "steps": 1, "rows": 4, "columns": 4},
        {"count": 1, "steps": 21},
        {"count": 2, "rows": 1, "columns": 8, "channels": 3},
        {"count": 2, "rows": 8, "columns": 1},
    ],
    ids=str,
)
def test_no_text_is_cut_off_or_overlaps_another(shape, boxes, assert_apart):
    _, figure = make(**shape)
    texts = [figure._suptitle, figure.axes[-1].xaxis.label]
    assert_apart(boxes(figure, texts + [axes.title for axes in figure.axes]))
