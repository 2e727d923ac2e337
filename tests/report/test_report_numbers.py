"""The numbers of the page, against numbers computed by hand."""

import base64
import dataclasses

import numpy as np
import pandas as pd
import pytest

from vit_hk.data.dataset import Dataset
from vit_hk.report.charts import make_chart, make_logarithmic_chart
from vit_hk.report.explorer import encode_uint16
from vit_hk.report.mistakes import collect_mistakes
from vit_hk.report.pictures import thumbnail_url


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


def test_a_picture_without_room_leaves_room_to_the_next_ones(misclassified, monkeypatch):
    dataset, predictions = misclassified
    images = np.zeros((7, 64, 64, 1), np.uint8)
    images[0] = np.random.default_rng(0).integers(0, 256, (64, 64, 1))  # a PNG of it is large
    small = len(thumbnail_url(images[1]))
    monkeypatch.setattr("vit_hk.report.mistakes.MAX_CHARACTERS", 3 * small)
    pairs = collect_mistakes(dataclasses.replace(dataset, x_test=images), predictions)
    assert [[index for index, _ in p.images] for p in pairs] == [[2, 3], [5]]


def test_axes_end_at_round_numbers():
    chart = make_chart("t", "u", {"one": pd.Series([0.0, 1.0], [1.0, 3.0])})
    assert [tick.label for tick in chart.y_ticks] == ["0", "0.2", "0.4", "0.6", "0.8", "1"]
    assert [tick.label for tick in chart.x_ticks] == ["1", "2", "3"]
    (line,) = chart.lines
    assert line.points == [(60, 212), (380, 12)]  # lower left and upper right of the plot area
    assert chart.x_ticks[1].position == 220


def test_no_axis_exceeds_100_percent():
    chart = make_chart("t", "u", {"one": pd.Series([86.0, 100.0], [1, 2])}, 100)
    assert max(float(tick.label) for tick in chart.y_ticks) <= 100
    assert chart.lines[0].points[-1][1] == 12
    chart = make_chart("t", "u", {"one": pd.Series([86.0, 99.5], [1, 2])}, 100)
    assert [tick.label for tick in chart.y_ticks] == ["84", "87", "90", "93", "96", "99"]
    assert chart.y_ticks[-1].position == 24.5  # 15 / 16 of the way from 212 to 12


@pytest.mark.parametrize("value", [0.0, 5.0])
def test_one_epoch_is_a_point(value):
    chart = make_chart("t", "u", {"one": pd.Series([value], [1.0])})
    (line,) = chart.lines
    assert len(line.points) == 1
    assert np.isfinite(line.points).all()


@pytest.mark.parametrize(("value", "max_y"), [(0.0, 100), (97.5, 100), (100.0, 100), (0.2, np.inf)])
def test_a_constant_has_different_ticks_around_it(value, max_y):
    chart = make_chart("t", "u", {"one": pd.Series([value, value], [1, 2])}, max_y)
    labels = [tick.label for tick in chart.y_ticks]
    assert len(set(labels)) == len(labels) > 2
    assert min(map(float, labels)) >= 0
    assert max(map(float, labels)) <= max_y
    assert 12 <= chart.lines[0].points[0][1] <= 212


def test_a_logarithmic_axis_has_its_ticks_at_equal_ratios():
    curves = {"one": pd.Series([1.2, 0.06], [1, 2]), "two": pd.Series([0.2, 0.0], [1, 2])}
    chart = make_logarithmic_chart("t", "u", curves)
    assert [tick.label for tick in chart.y_ticks] == ["0.05", "0.1", "0.2", "0.5", "1", "2"]
    positions = {tick.label: tick.position for tick in chart.y_ticks}
    assert (positions["0.05"], positions["2"]) == (212, 12)
    assert positions["0.1"] - positions["1"] == pytest.approx(200 / np.log10(40), abs=0.11)
    assert chart.lines[0].points[0] == (
        60,
        pytest.approx(212 - 200 * np.log(24) / np.log(40), abs=0.1),
    )
    # A value of 0 is drawn at the end of the axis.
    assert [y for _, y in chart.lines[1].points] == [positions["0.2"], 212]


@pytest.mark.parametrize("value", [0.0, 1.0, 0.3, 1e-6])
def test_a_single_loss_is_drawn_on_a_logarithmic_axis(value):
    chart = make_logarithmic_chart("t", "u", {"one": pd.Series([value], [1])})
    assert np.isfinite(chart.lines[0].points).all()
    assert 12 <= chart.lines[0].points[0][1] <= 212


def test_many_decades_have_ticks_at_powers_of_ten():
    curves = {"one": pd.Series([9.0, 0.0002], [1, 2])}
    chart = make_logarithmic_chart("t", "u", curves)
    assert [tick.label for tick in chart.y_ticks] == ["0.0001", "0.001", "0.01", "0.1", "1", "10"]
