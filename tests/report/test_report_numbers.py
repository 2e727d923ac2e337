"""The numbers of the page, against numbers computed by hand."""

import base64

import numpy as np
import pandas as pd
import pytest

from vit_hk.data.dataset import Dataset
from vit_hk.report.charts import make_chart
from vit_hk.report.explorer import encode_uint16
from vit_hk.report.mistakes import collect_mistakes


def test_shares_are_exact_to_a_thousandth_of_a_percent():
    numbers = np.array([[0.0, 1.0], [1 / 3, 1e-5]])
    decoded = np.frombuffer(base64.b64decode(encode_uint16(numbers)), "<u2") / 65535
    np.testing.assert_allclose(decoded, numbers.ravel(), atol=1e-5)


def test_shares_that_rounding_raised_above_1_become_1():
    encoded = encode_uint16(np.array([1.0000001]))
    assert np.frombuffer(base64.b64decode(encoded), "<u2").tolist() == [65535]


@pytest.fixture
def misclassified() -> tuple[Dataset, np.ndarray]:
    """Seven test images of two classes: three times a is predicted as b, once b as a."""
    labels = np.array([0, 0, 0, 0, 1, 1, 1], np.int32)
    images = np.arange(7, dtype=np.uint8).reshape(7, 1, 1, 1)
    dataset = Dataset(images, labels, images, labels, "mnist", "a test", ("a", "b"))
    return dataset, np.array([1, 0, 1, 1, 1, 0, 1])


def test_pairs_of_classes_are_sorted_by_the_number_of_mistakes(misclassified):
    pairs = collect_mistakes(*misclassified)
    assert [(p.actual, p.predicted, p.count) for p in pairs] == [(0, 1, 3), (1, 0, 1)]
    assert [[index for index, _ in p.images] for p in pairs] == [[0, 2, 3], [5]]


def test_each_pair_shows_an_image_where_pictures_are_limited(misclassified, monkeypatch):
    one = len(collect_mistakes(*misclassified)[0].images[0][1])
    monkeypatch.setattr("vit_hk.report.mistakes.MAX_CHARACTERS", 3 * one - 1)
    pairs = collect_mistakes(*misclassified)
    assert [p.count for p in pairs] == [3, 1]
    assert [[index for index, _ in p.images] for p in pairs] == [[0], [5]]


def test_axes_end_at_round_numbers():
    chart = make_chart("t", "u", pd.Series([1.0, 3.0]), {"one": pd.Series([0.0, 1.0])})
    assert [tick.label for tick in chart.y_ticks] == ["0", "0.2", "0.4", "0.6", "0.8", "1"]
    assert [tick.label for tick in chart.x_ticks] == ["1", "2", "3"]
    (line,) = chart.lines
    assert line.points == [(60, 212), (380, 12)]  # lower left and upper right of the plot area
    assert chart.x_ticks[1].position == 220


def test_no_axis_exceeds_100_percent():
    chart = make_chart("t", "u", pd.Series([1, 2]), {"one": pd.Series([86.0, 100.0])}, 100)
    assert max(float(tick.label) for tick in chart.y_ticks) <= 100
    assert chart.lines[0].points[-1][1] == 12
    chart = make_chart("t", "u", pd.Series([1, 2]), {"one": pd.Series([86.0, 99.5])}, 100)
    assert [tick.label for tick in chart.y_ticks] == ["84", "87", "90", "93", "96", "99"]
    assert chart.y_ticks[-1].position == 24.5  # 15 / 16 of the way from 212 to 12


@pytest.mark.parametrize("value", [0.0, 5.0])
def test_one_epoch_is_a_point(value):
    chart = make_chart("t", "u", pd.Series([1.0]), {"one": pd.Series([value])})
    (line,) = chart.lines
    assert len(line.points) == 1
    assert np.isfinite(line.points).all()
