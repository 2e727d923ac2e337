"""The words of the panel of the mean attention."""

import numpy as np
import pytest

from vit_hk.report.panels.mean_attention import describe_maximum


@pytest.mark.parametrize(
    ("largest", "text"),
    [(1.0, "100 %"), (0.346, "35 %"), (0.0346, "3.5 %"), (0.00346, "0.35 %"), (0.0001, "0.01 %")],
)
def test_the_largest_share_is_named_with_its_place_also_where_it_is_small(largest, text):
    weights = np.zeros((20, 30))
    weights[4, 7] = largest
    assert describe_maximum(weights) == f"{text} to row 5, column 8"
