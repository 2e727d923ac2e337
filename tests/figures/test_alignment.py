"""Pictures in a grid stand in line, also where a colour bar belongs to some of them only."""

import itertools
from collections import defaultdict

import numpy as np
import pytest
from matplotlib.figure import Figure
from named_figures import NAMED_FIGURES

from vit_hk.figures.filters import draw_filters

NAMES = [str(number) for number in range(7)]
SHAPES = {"square": (28, 28), "tall": (64, 16), "wide": (16, 64)}
WITH_SHAPE = ["class_maps", "right_wrong", "snapshots"]


def filters() -> Figure:
    """Return a figure of 17 tiles in three rows, of which the last one is not full."""
    tiles = np.random.default_rng(0).normal(size=(17, 4, 4, 1))
    return draw_filters(tiles, np.linspace(0.3, 0.1, 17) / 4, 64)


CASES = {
    f"{name}-{shape}": lambda name=name, shape=shape: NAMED_FIGURES[name](NAMES, SHAPES[shape])
    for name, shape in itertools.product(WITH_SHAPE, SHAPES)
} | {"mistakes": lambda: NAMED_FIGURES["mistakes"](NAMES), "filters": filters}


@pytest.mark.parametrize("name", CASES)
def test_pictures_of_a_row_and_of_a_column_stand_in_line(name):
    figure = CASES[name]()
    figure.draw_without_rendering()
    rows, columns = defaultdict(list), defaultdict(list)
    for axes in figure.axes:
        place = axes.get_subplotspec()
        if axes.images and place is not None:
            box = axes.get_position()
            rows[place.rowspan.start].append((box.y0, box.y1))
            columns[place.colspan.start].append((box.x0, box.x1))
    assert max(map(len, rows.values())) > 2
    for boxes in (*rows.values(), *columns.values()):
        np.testing.assert_allclose(boxes, boxes[:1] * len(boxes), rtol=0, atol=1e-6)
