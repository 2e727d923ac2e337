import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vit_hk.figures.per_class import draw_per_class
from vit_hk.report.class_scores import add_intervals
from vit_hk.tables import per_class_table


def labels(ticks: list) -> list[str]:
    return [text.get_text() for text in ticks]


def draw(names: list[str], precision: list[float], recall: list[float]) -> Figure:
    """Draw scores with intervals from 0.02 below to 0.01 above each, within [0, 1]."""
    table = pd.DataFrame({"precision": precision, "recall": recall, "f1": recall})
    for score in ("precision", "recall", "f1"):
        table[f"{score}_low"] = (table[score] - 0.02).clip(lower=0)
        table[f"{score}_high"] = (table[score] + 0.01).clip(upper=1)
    return draw_per_class(table, names)


def drawn(axes: Axes) -> dict[str, tuple[list[float], list[list[float]]]]:
    """Return the scores and the ends of the intervals of each entry of the legend, in percent."""
    result = {}
    for container in axes.containers:
        line, _, (bars,) = container.lines
        ends = [segment[:, 1].round(9).tolist() for segment in bars.get_segments()]
        result[container.get_label()] = (line.get_ydata().tolist(), ends)
    return result


def test_points_are_scores_with_their_intervals():
    figure = draw(["a", "b"], [0.25, 1.0], [0.5, 0.75])
    axes = figure.axes[0]
    assert drawn(axes) == {
        "precision": ([25, 100], [[23, 26], [98, 100]]),
        "recall": ([50, 75], [[48, 51], [73, 76]]),
        "F1": ([50, 75], [[48, 51], [73, 76]]),
    }
    assert labels(axes.get_legend().get_texts()) == ["precision", "recall", "F1"]
    assert labels(axes.get_xticklabels()) == ["a", "b"]
    assert axes.get_ylim() == (0, 102)  # a point at 100 % is whole


@pytest.mark.filterwarnings("error")
def test_share_of_no_image_has_no_point():
    true, predicted = np.array([0, 0, 2]), np.array([0, 0, 0])  # no image of class 1
    names = ["a", "b", "c"]
    table = add_intervals(per_class_table(true, predicted, names), true, predicted)
    assert table["precision"].tolist() == pytest.approx([2 / 3, 0, 0], abs=1e-6)
    axes = draw_per_class(table, names).axes[0]
    places = {
        container.get_label(): container.lines[0].get_xdata().round().tolist()
        for container in axes.containers
    }
    assert places == {"precision": [0], "recall": [0, 2], "F1": [0, 2]}
    assert labels(axes.get_xticklabels()) == names


def test_label_states_where_an_axis_starts_that_does_not_start_at_0():
    axes = draw(["a", "b"], [0.95, 1.0], [0.99, 0.97]).axes[0]
    bottom, top = axes.get_ylim()
    assert 0 < bottom < 93
    assert 100 < top < 101
    assert f"the axis starts at {bottom:g}" in axes.get_ylabel()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("score", [0.0, 1.0])
def test_equal_scores_can_be_drawn(score):
    bottom, top = draw(["a"], [score], [score]).axes[0].get_ylim()
    assert bottom < 100 < top


def test_equal_names_have_scores_of_their_own():
    # Two names may be equal after both were shortened.
    (axes,) = draw(["a", "a"], [0.25, 1.0], [0.5, 0.75]).axes
    assert drawn(axes)["precision"][0] == [25, 100]
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
