import numpy as np
import pandas as pd
import pytest

from vit_hk.data.corruptions import CORRUPTIONS
from vit_hk.figures.corruptions import STYLES, draw_corruptions
from vit_hk.robustness import measure_corruptions


def make_table(names: list[str]) -> pd.DataFrame:
    """Return a table in which the n-th corruption loses n percentage points a severity."""

    def predict(images: np.ndarray) -> np.ndarray:
        return np.zeros((len(images), 2))

    table = measure_corruptions(predict, np.zeros((4, 8, 8, 1), np.uint8), np.zeros(4), names)
    lost = table["corruption"].map({name: n for n, name in enumerate(names)})
    return table.assign(accuracy=1 - 0.01 * lost * table["severity"], standard_error=0.05)


@pytest.fixture(scope="module")
def drawn():
    names = list(CORRUPTIONS)
    examples = np.random.default_rng(0).integers(0, 256, (7, 5, 8, 8, 1), dtype=np.uint8)
    return draw_corruptions(make_table(names), examples), examples


def test_each_corruption_has_a_style_of_its_own():
    assert list(STYLES) == list(CORRUPTIONS)
    for property_of_styles in zip(*STYLES.values(), strict=True):
        assert len(set(property_of_styles)) == len(STYLES)


def test_accuracies_are_in_percent_with_bands_of_a_standard_error(drawn):
    axes = drawn[0].axes[0]
    thin = axes.lines[-1]
    assert thin.get_xdata().tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(thin.get_ydata(), [100, 94, 88, 82, 76])
    (path,) = axes.collections[-1].get_paths()
    at_the_end = path.vertices[path.vertices[:, 0] == 4, 1]
    assert (at_the_end.min(), at_the_end.max()) == pytest.approx((71, 81))


def test_legend_lists_the_mean_of_the_severities_and_the_best_one_first(drawn):
    legend = drawn[0].axes[0].get_legend()
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts[0] == "100.0 %  Gaussian noise"
    assert texts[1] == "97.5 %  impulse noise"
    assert texts[-1] == "85.0 %  thinner strokes"
    colors = [handle.get_color() for handle in legend.legend_handles]
    assert colors == [color for color, _ in STYLES.values()]


def test_examples_stand_above_their_strengths(drawn):
    figure, examples = drawn
    grid = np.array(figure.axes[1:]).reshape(7, 5)
    for axes_of_row, images in zip(grid, examples, strict=True):
        for axes, image in zip(axes_of_row, images, strict=True):
            np.testing.assert_array_equal(axes.images[0].get_array()[..., :1], image)
    assert grid[0, 2].get_xlabel() == "10 %"
    assert grid[2, 1].get_xlabel() == "0.143 px"  # 0.5 pixels of 28
    assert grid[2, 0].get_xlabel() == ""


@pytest.mark.parametrize("names", [["thin"], list(CORRUPTIONS)], ids=["one", "all"])
def test_no_text_is_cut_off_or_overlaps_another(names, boxes, assert_apart):
    examples = np.zeros((len(names), 5, 28, 28, 3), np.uint8)
    figure = draw_corruptions(make_table(names), examples)
    texts = [figure._suptitle]
    for axes in figure.axes:
        texts += [axes.title, axes.xaxis.label, axes.yaxis.label]
    assert_apart(boxes(figure, texts))
