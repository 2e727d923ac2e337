import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from vit_hk.explain.faithfulness import reference_maps
from vit_hk.explain.methods import METHODS as ATTRIBUTION_METHODS
from vit_hk.figures.faithfulness import STYLES, draw_faithfulness

METHODS = ("last_layer", "rollout", "gradient_rollout", "relevance", "random", "brightness")


@pytest.fixture
def table() -> pd.DataFrame:
    """Straight lines: the insertion of method n rises to 1 - n / 10, each deletion stays at 0."""
    shares = np.linspace(0, 1, 5)
    rows = [
        {
            "method": method,
            "share": share,
            "deletion": 0.0,
            "insertion": share * (1 - n / 10),
            "deletion_error": 0.0,
            "insertion_error": share / 20,
            "score_error": n / 100,
        }
        for n, method in enumerate(METHODS)
        for share in shares
    ]
    return pd.DataFrame(rows)


def test_every_method_and_every_reference_order_has_a_style():
    references = reference_maps(np.zeros((1, 2, 2, 1), np.uint8), (1, 1), seed=0)
    assert set(STYLES) == {*ATTRIBUTION_METHODS, *references} == set(METHODS)
    assert len({style.label for style in STYLES.values()}) == len(STYLES)


def test_curves_are_in_percent(table):
    deletion, insertion, _ = draw_faithfulness(table, 500).axes
    assert len(deletion.lines) == len(insertion.lines) == 6
    rollout = insertion.lines[1]
    np.testing.assert_allclose(rollout.get_xdata(), [0, 25, 50, 75, 100])
    np.testing.assert_allclose(rollout.get_ydata(), [0, 22.5, 45, 67.5, 90])
    for axes in (deletion, insertion):
        assert "(%)" in axes.get_xlabel()
    assert "(%)" in deletion.get_ylabel()


def test_of_one_image_no_error_is_shown(table):
    figure = draw_faithfulness(table, 1)
    texts = [text.get_text() for text in figure.axes[-1].get_legend().get_texts()]
    assert len(texts) == 6
    assert "±" not in "".join([*texts, figure.get_suptitle()])
    assert "one test image" in figure.get_suptitle()


def test_bands_are_one_standard_error_to_both_sides(table):
    _, insertion, _ = draw_faithfulness(table, 500).axes
    (path,) = insertion.collections[1].get_paths()  # of rollout
    at_the_end = path.vertices[path.vertices[:, 0] == 100, 1]
    assert (at_the_end.min(), at_the_end.max()) == pytest.approx((85, 95))
    face = insertion.collections[1].get_facecolor()[0]
    assert to_hex(face) == insertion.lines[1].get_color()


def test_legend_lists_scores_and_the_best_one_first(table):
    legend = draw_faithfulness(table, 500).axes[-1].get_legend()
    texts = [text.get_text() for text in legend.get_texts()]
    # Half of 1, 0.9, 0.8, …
    assert texts[0] == "+0.500 ± 0.000  attention of the last layer"
    assert texts[1] == "+0.450 ± 0.010  rollout"
    assert texts[-1] == "+0.250 ± 0.050  brightest patch first"


def test_a_score_that_rounds_to_zero_has_no_minus_sign(table):
    table.loc[table["method"] == "random", ["deletion", "insertion"]] = 0.0004, 0.0
    legend = draw_faithfulness(table, 500).axes[-1].get_legend()
    assert legend.get_texts()[-1].get_text() == "+0.000 ± 0.040  random order"


def test_each_entry_of_the_legend_has_the_colour_of_its_method(table):
    figure = draw_faithfulness(table, 500)
    insertion, legend = figure.axes[1], figure.axes[2].get_legend()
    drawn = {line.get_color(): line.get_ydata()[-1] for line in insertion.lines}
    ends = [drawn[handle.get_color()] for handle in legend.legend_handles]
    assert ends == sorted(ends, reverse=True)


def test_no_text_is_cut_off_or_overlaps_another(table, boxes, assert_apart):
    figure = draw_faithfulness(table, 10_000)
    legend = figure.axes[-1].get_legend()
    texts = [figure._suptitle, legend.get_title(), *legend.get_texts()]
    for axes in figure.axes[:2]:
        texts += [axes.title, axes.xaxis.label, axes.yaxis.label]
    assert_apart(boxes(figure, texts))
