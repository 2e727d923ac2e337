"""Numbers as the pages write them."""

import pytest

from vit_hk.report.wording import counted, percent, points


@pytest.mark.parametrize(
    ("share", "digits", "text"),
    [
        (1, 2, "100.00 %"),
        (0, 2, "0.00 %"),
        (0.98104, 2, "98.10 %"),
        (0.99994, 2, "99.99 %"),
        (0.99996, 2, "99.996 %"),  # two digits would say 100.00 %
        (1 - 1e-6, 2, "99.9999 %"),  # one mistake in a million images
        (0.9996, 0, "99.96 %"),
        (1 - 1e-12, 1, "100.0 %"),  # an error of floating point is no mistake
    ],
)
def test_only_all_is_100_percent(share, digits, text):
    assert percent(share, digits) == text


@pytest.mark.parametrize(
    ("difference", "text"),
    [(0.1, "10.00"), (-0.0049, "0.49"), (0.00004, "0.004"), (-1e-6, "0.0001")],
)
def test_a_difference_is_not_0(difference, text):
    assert points(difference) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 mistakes"), (1, "1 mistake"), (12_000, "12,000 mistakes")]
)
def test_one_thing_is_singular(count, text):
    assert counted(count, "mistake") == text
