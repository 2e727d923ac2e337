import numpy as np
import pytest

from vit_hk.figures.confusion import draw_confusion, shade_mistakes

COUNTS = np.array([[8, 2, 0], [0, 5, 0], [0, 0, 0]])
NAMES = ["cat", "dog", "never seen"]


def labels(ticks: list) -> list[str]:
    return [text.get_text() for text in ticks]


def test_colours_end_at_the_largest_mistake():
    counts = np.array([[996, 4, 0], [1, 98, 1], [0, 0, 0]])
    mesh = draw_confusion(counts, NAMES).axes[0].collections[0]
    shares = mesh.get_array().reshape(3, 3)
    np.testing.assert_allclose(shares.filled(-1), [[-1, 0.4, 0], [1, -1, 1], [0, 0, -1]])
    assert mesh.get_clim() == (0, 1)
    np.testing.assert_allclose(shade_mistakes(counts), [[0, 0.4, 0], [1, 0, 1], [0, 0, 0]])


@pytest.mark.filterwarnings("error")
def test_without_mistakes_no_cell_is_shaded():
    counts = np.diag([5, 3, 0])
    mesh = draw_confusion(counts, NAMES).axes[0].collections[0]
    assert mesh.get_array().compressed().tolist() == [0] * 6
    assert mesh.get_clim() == (0, 1)
    assert not shade_mistakes(counts).any()


def test_numbers_are_counts_in_their_cells():
    axes = draw_confusion(COUNTS, NAMES).axes[0]
    written = {text.get_position(): text.get_text() for text in axes.texts if text.get_text()}
    # The center of the cell in column c and row r is (c + 0.5, r + 0.5); row 0 is on top.
    assert written == {(0.5, 0.5): "8", (1.5, 0.5): "2", (1.5, 1.5): "5"}
    bottom, top = axes.get_ylim()
    assert bottom > top


def test_axes_and_the_number_of_mistakes_are_labelled():
    figure = draw_confusion(COUNTS, NAMES)
    axes = figure.axes[0]
    assert axes.get_xlabel() == "predicted class"
    assert axes.get_ylabel() == "true class (hatched: no test images)"
    assert labels(axes.get_xticklabels()) == NAMES
    assert labels(axes.get_yticklabels()) == NAMES
    np.testing.assert_array_equal(axes.get_yticks(), [0.5, 1.5, 2.5])
    assert "2 mistakes in 15 test images" in axes.get_title()
    assert "%" in figure.axes[1].get_ylabel()


def test_rows_of_classes_without_images_are_hatched():
    (row,) = draw_confusion(COUNTS, NAMES).axes[0].patches
    assert row.get_hatch()
    assert (row.get_y(), row.get_height()) == (2, 1)
    axes = draw_confusion(np.diag([3, 1]), NAMES[:2]).axes[0]
    assert not axes.patches
    assert axes.get_ylabel() == "true class"


def test_figure_of_100_classes_has_a_bounded_size(boxes, assert_apart):
    names = [f"class {n}" for n in range(100)]
    figure = draw_confusion(np.eye(100, dtype=int), names)
    axes = figure.axes[0]
    width, height = figure.get_size_inches()
    assert width <= 25
    assert height <= 25
    # Numbers in cells of a tenth of an inch are not legible; the names still fit.
    assert not axes.texts
    assert labels(axes.get_xticklabels()) == names
    assert_apart(boxes(figure, [*axes.get_yticklabels(), *axes.get_xticklabels()]))


@pytest.mark.filterwarnings("error")
def test_long_names_are_cut(boxes, assert_apart):
    names = [f"{n} {'x' * 200}" for n in range(10)]
    figure = draw_confusion(np.eye(10, dtype=int), names)
    ticks = figure.axes[0].get_yticklabels()
    assert all(text.get_text().startswith(f"{n} xxxx") for n, text in enumerate(ticks))
    assert all(text.get_text().endswith("x…") for text in ticks)
    assert_apart(boxes(figure, ticks))
