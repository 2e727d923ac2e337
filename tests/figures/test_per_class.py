import pandas as pd
import pytest
from matplotlib.figure import Figure

from vit_hk.figures.per_class import draw_per_class


def labels(ticks: list) -> list[str]:
    return [text.get_text() for text in ticks]


def draw(names: list[str], precision: list[float], recall: list[float]) -> Figure:
    columns = {"class": names, "precision": precision, "recall": recall}
    return draw_per_class(pd.DataFrame(columns | {"f1": 0.5, "support": 10}), names)


def test_bars_are_precision_and_recall():
    figure = draw(["a", "b"], [0.25, 1.0], [0.5, 0.75])
    axes = figure.axes[0]
    heights = [[bar.get_height() for bar in bars] for bars in axes.containers]
    assert heights == [[25, 100], [50, 75]]
    assert labels(axes.get_legend().get_texts()) == ["precision", "recall"]
    assert labels(axes.get_xticklabels()) == ["a", "b"]
    assert axes.get_ylim() == (0, 100)


def test_label_states_where_an_axis_starts_that_does_not_start_at_0():
    axes = draw(["a", "b"], [0.95, 1.0], [0.99, 0.97]).axes[0]
    bottom, top = axes.get_ylim()
    assert 0 < bottom < 95
    assert top == 100
    assert f"the axis starts at {bottom:g}" in axes.get_ylabel()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("score", [0.0, 1.0])
def test_equal_scores_can_be_drawn(score):
    bottom, top = draw(["a"], [score], [score]).axes[0].get_ylim()
    assert bottom < 100
    assert top == 100


def test_equal_names_have_bars_of_their_own():
    # Two names may be equal after both were shortened.
    (axes,) = draw(["a", "a"], [0.25, 1.0], [0.5, 0.75]).axes
    assert [[bar.get_height() for bar in bars] for bars in axes.containers] == [[25, 100], [50, 75]]
    assert labels(axes.get_xticklabels()) == ["a", "a"]


def test_figure_of_100_classes_has_a_bounded_size(boxes, assert_apart):
    names = [f"class {n}" for n in range(100)]
    figure = draw(names, [0.9] * 100, [0.9] * 100)
    assert max(figure.get_size_inches()) <= 45
    assert_apart(boxes(figure, figure.axes[0].get_xticklabels()))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("length", [5, 20, 200])
def test_names_of_any_length_fit(length, boxes, assert_apart):
    names = [f"{'x' * length} {n}" for n in range(10)]
    axes = (figure := draw(names, [0.9] * 10, [0.9] * 10)).axes[0]
    assert_apart(boxes(figure, [*axes.get_xticklabels(), axes.xaxis.label, axes.title]))
    assert axes.bbox.height > 200  # pixels
