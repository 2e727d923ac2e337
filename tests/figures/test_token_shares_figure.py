import numpy as np
import pytest

from vit_hk.figures.token_shares import draw_token_shares

SHARES = np.array(
    [
        [[0.1, 0.3, 0.6], [0.2, 0.2, 0.6], [0.5, 0.25, 0.25]],
        [[0.3, 0.3, 0.4], [0.1, 0.1, 0.8], [0.0, 0.0, 1.0]],
    ]
)


def test_bars_of_each_query_are_stacked():
    figure = draw_token_shares(SHARES, np.array([1, 3, 16]), 128)
    assert len(figure.axes) == 3
    for query, axes in enumerate(figure.axes):
        heights = np.array([[bar.get_height() for bar in bars] for bars in axes.containers])
        bottoms = np.array([[bar.get_y() for bar in bars] for bars in axes.containers])
        np.testing.assert_allclose(heights, 100 * SHARES[:, query].T)
        np.testing.assert_allclose(bottoms[1:], np.cumsum(heights, axis=0)[:-1])


def test_dashed_lines_show_uniform_attention():
    figure = draw_token_shares(SHARES, np.array([1, 3, 16]), 128)
    lines = [line.get_ydata()[0] for line in figure.axes[0].lines]
    np.testing.assert_allclose(lines, [5, 20])


@pytest.mark.parametrize(
    ("counts", "titles"),
    [
        ([1, 0, 16], ["query: the class token", "query: a patch"]),
        ([0, 2, 16], ["query: a register", "query: a patch"]),
        ([0, 0, 16], ["query: a patch"]),
    ],
)
def test_kinds_of_tokens_that_the_model_lacks_are_left_out(counts, titles, boxes, assert_apart):
    figure = draw_token_shares(SHARES, np.array(counts), 128)
    assert [axes.get_title() for axes in figure.axes] == titles
    assert all(len(axes.containers) == len(titles) for axes in figure.axes)
    legend = figure.legends[0].get_texts()
    assert len(legend) == len(titles) + (len(titles) > 1)
    assert_apart(boxes(figure, [figure._suptitle, *legend, *(a.title for a in figure.axes)]))
