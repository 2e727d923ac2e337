import numpy as np
import pytest

from vit_hk.figures.by_layer import draw_by_layer

VALUES = np.array([[1.0, 3.0], [4.0, 4.0], [0.0, 5.0]])


def test_a_dot_for_each_head_and_a_line_through_the_means():
    (axes,) = draw_by_layer(VALUES, "title", "unit", "uniform", 6.0).axes
    dots, means, reference = axes.lines
    assert dots.get_xdata().tolist() == [1, 1, 2, 2, 3, 3]
    assert dots.get_ydata().tolist() == [1, 3, 4, 4, 0, 5]
    assert means.get_xdata().tolist() == [1, 2, 3]
    assert means.get_ydata().tolist() == [2, 4, 2.5]
    assert set(reference.get_ydata()) == {6.0}


def test_mean_of_a_single_layer_is_seen():
    (axes,) = draw_by_layer(VALUES[:1], "title", "unit", "uniform", 6.0).axes
    assert axes.lines[1].get_marker() == "D"


def test_everything_lies_within_the_axes_which_start_at_0():
    (axes,) = draw_by_layer(VALUES, "title", "unit", "uniform", 6.0).axes
    assert axes.get_ylim()[0] == 0
    assert axes.get_ylim()[1] > 6
    (axes,) = draw_by_layer(VALUES, "title", "unit", "uniform", 2.0).axes
    assert axes.get_ylim()[1] > 5


def test_unit_and_reference_are_labelled():
    figure = draw_by_layer(VALUES, "title", "entropy (nats)", "uniform attention", 2.8332)
    assert figure.axes[0].get_ylabel() == "entropy (nats)"
    assert "uniform attention: 2.83" in [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.mark.parametrize(("layers", "heads"), [(1, 1), (2, 3), (24, 16)])
def test_layer_ticks_are_integers_and_texts_fit(layers, heads, boxes, assert_apart):
    values = np.random.default_rng(0).random((layers, heads))
    figure = draw_by_layer(values, "Attention distance", "distance (pixels)", "uniform", 0.5)
    (axes,) = figure.axes
    ticks = axes.get_xticks()
    np.testing.assert_array_equal(ticks, np.round(ticks))
    texts = [figure._suptitle, axes.xaxis.label, axes.yaxis.label, *figure.legends[0].get_texts()]
    assert_apart(boxes(figure, texts))


def test_all_zeros_can_be_drawn():
    (axes,) = draw_by_layer(np.zeros((2, 2)), "title", "unit", "uniform", 0.0).axes
    bottom, top = axes.get_ylim()
    assert bottom < top
