"""Products of small matrices, whose sums stay in registers."""

import itertools
import math
from typing import NamedTuple

from vit_hk.kernels.code import Code, Index, Value

# Rows of the sums that are held in registers at a time. Each row has an eighth of the registers, so
# that a quarter is left for the numbers of a and b.
HEIGHT = 6


class Matrix(NamedTuple):
    """Where in memory the number of a row and a column stands."""

    array: Value
    next_row: int
    next_column: int = 1


def multiply(
    code: Code, a: Matrix, b: Matrix, result: Matrix,
    rows: Index, depth: Index, columns: int, bias: Value | None = None,
) -> None:  # fmt: skip
    """Write a b + bias, for a [rows, depth] and b [depth, columns]; columns are whole registers.

    A register has neighbours of one row of b and of the result, so next_column of these is 1.
    """

    def some_columns(start: Index, width: int) -> None:
        b_part, result_part = (m._replace(array=code.at(m.array, start)) for m in (b, result))
        bias_part = code.at(bias, start) if bias else None
        _multiply_columns(code, a, b_part, result_part, rows, depth, width, bias_part)

    code.in_parts(columns, code.registers // 8 * code.lanes, some_columns)


def _multiply_columns(
    code: Code, a: Matrix, b: Matrix, result: Matrix,
    rows: Index, depth: Index, width: int, bias: Value | None,
) -> None:  # fmt: skip
    """The first columns, so many."""

    def tile(start: Index, height: int) -> None:
        a_part, result_part = (
            m._replace(array=code.at(m.array, code.times(start, m.next_row))) for m in (a, result)
        )
        _multiply_tile(code, a_part, b, result_part, height, depth, width, bias)

    even = math.ceil(rows / math.ceil(rows / HEIGHT)) if isinstance(rows, int) else HEIGHT
    code.in_parts(rows, even, tile)


def _multiply_tile(
    code: Code, a: Matrix, b: Matrix, result: Matrix,
    height: int, depth: Index, width: int, bias: Value | None,
) -> None:  # fmt: skip
    """The first rows of the first columns, whose sums stay in registers."""
    columns = range(0, width, code.lanes)

    def add_products(k: Value, *sums: Value) -> list[Value]:
        b_row, a_column = code.times(k, b.next_row), code.times(k, a.next_column)
        of_b = [code.load(b.array, code.plus(b_row, column)) for column in columns]
        of_a = [
            code.load_one(a.array, code.plus(a_column, row * a.next_row)) for row in range(height)
        ]
        pairs = itertools.product(of_a, of_b)
        return [code.multiply_add(*pair, sum_) for pair, sum_ in zip(pairs, sums, strict=True)]

    first = [code.load(bias, column) if bias else code.constant(0.0) for column in columns]
    sums = iter(code.repeat(depth, add_products, *first * height))
    for row, column in itertools.product(range(height), columns):
        code.store(next(sums), result.array, row * result.next_row + column)
