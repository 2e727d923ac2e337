"""What the page holds, against numbers worked out by hand."""

import base64

import numpy as np
import pandas as pd
import pytest

from vit_hk.dataset import Dataset
from vit_hk.report.confusion import collect_mistakes
from vit_hk.report.curves import draw_chart
from vit_hk.report.explorer import pack


def test_shares_are_kept_to_a_thousandth_of_a_percent():
    numbers = np.array([[0.0, 1.0], [1 / 3, 1e-5]])
    back = np.frombuffer(base64.b64decode(pack(numbers)), "<u2") / 65535
    np.testing.assert_allclose(back, numbers.ravel(), atol=1e-5)


def test_shares_that_rounding_makes_too_large_stay_1():
    assert np.frombuffer(base64.b64decode(pack(np.array([1.0000001]))), "<u2").tolist() == [65535]


@pytest.fixture
def mistaken() -> tuple[Dataset, np.ndarray]:
    """Seven test images of two classes: a is taken for b three times, b for a once."""
    labels = np.array([0, 0, 0, 0, 1, 1, 1], np.int32)
    images = np.arange(7, dtype=np.uint8).reshape(7, 1, 1, 1)
    dataset = Dataset(images, labels, images, labels, "mnist", "a test", ("a", "b"))
    return dataset, np.array([1, 0, 1, 1, 1, 0, 1])


def test_pairs_of_classes_come_by_the_number_of_their_mistakes(mistaken):
    pairs = collect_mistakes(*mistaken)
    assert [(p.actual, p.predicted, p.count) for p in pairs] == [(0, 1, 3), (1, 0, 1)]
    assert [[index for index, _ in p.images] for p in pairs] == [[0, 2, 3], [5]]


def test_where_room_is_short_each_pair_shows_an_image(mistaken, monkeypatch):
    one = len(collect_mistakes(*mistaken)[0].images[0][1])
    monkeypatch.setattr("vit_hk.report.confusion.MOST_SHOWN", 3 * one - 1)
    pairs = collect_mistakes(*mistaken)
    assert [p.count for p in pairs] == [3, 1]
    assert [[index for index, _ in p.images] for p in pairs] == [[0], [5]]


def test_curves_stand_between_round_numbers():
    chart = draw_chart("t", "u", pd.Series([1.0, 3.0]), {"one": pd.Series([0.0, 1.0])})
    assert [tick.text for tick in chart.y_ticks] == ["0", "0.2", "0.4", "0.6", "0.8", "1"]
    assert [tick.text for tick in chart.x_ticks] == ["1", "2", "3"]
    (line,) = chart.lines
    assert line.points == [(60, 212), (380, 12)]  # lower left and upper right of the field
    assert chart.x_ticks[1].place == 220


def test_no_axis_goes_beyond_100_percent():
    chart = draw_chart("t", "u", pd.Series([1, 2]), {"one": pd.Series([86.0, 100.0])}, 100)
    assert max(float(tick.text) for tick in chart.y_ticks) <= 100
    assert chart.lines[0].points[-1][1] == 12
    chart = draw_chart("t", "u", pd.Series([1, 2]), {"one": pd.Series([86.0, 99.5])}, 100)
    assert [tick.text for tick in chart.y_ticks] == ["84", "87", "90", "93", "96", "99"]
    assert chart.y_ticks[-1].place == 24.5  # 15 of 16 parts of the way up from 212 to 12


@pytest.mark.parametrize("value", [0.0, 5.0])
def test_one_epoch_is_a_point(value):
    chart = draw_chart("t", "u", pd.Series([1.0]), {"one": pd.Series([value])})
    (line,) = chart.lines
    assert len(line.points) == 1
    assert np.isfinite(line.points).all()
