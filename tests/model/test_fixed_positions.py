import math

import numpy as np
import pytest

from vit_hk.model.positions import sincos2d_positions


@pytest.mark.parametrize(("rows", "columns", "width"), [(2, 3, 8), (3, 1, 4), (5, 7, 64)])
def test_sincos_positions_equal_nested_loops(rows, columns, width):
    quarter = width // 4
    positions = sincos2d_positions(rows, columns, width)
    assert positions.shape == (rows * columns, width)
    assert positions.dtype == np.float32
    for row in range(rows):
        for column in range(columns):
            vector = positions[row * columns + column]
            for i in range(quarter):
                frequency = 1 / 10000 ** (i / quarter)
                expected = [
                    math.sin(column * frequency),
                    math.cos(column * frequency),
                    math.sin(row * frequency),
                    math.cos(row * frequency),
                ]
                np.testing.assert_allclose(vector[i::quarter], expected, atol=1e-7)


def test_sincos_positions_of_three_columns_equal_literal_values():
    # A width of 4 has the single frequency 1: sin(column), cos(column), sin(row), cos(row).
    expected = [[0, 1, 0, 1], [0.841471, 0.540302, 0, 1], [0.909297, -0.416147, 0, 1]]
    np.testing.assert_allclose(sincos2d_positions(1, 3, 4), expected, atol=1e-6)


def test_sincos_positions_are_distinct():
    positions = sincos2d_positions(8, 8, 16)
    distance = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    assert distance[~np.eye(64, dtype=bool)].min() > 0.1
