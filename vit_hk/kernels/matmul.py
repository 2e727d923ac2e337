"""Matrix multiplication in tiles whose accumulators stay in SIMD registers, as part of a kernel."""

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

from vit_hk.kernels.vector_builder import Index, Value, VectorBuilder

# The rows of a tile. The accumulators of a row take an eighth of the SIMD registers, so that a
# quarter of the registers is left for elements of a and b.
TILE_ROWS = 6


class Matrix(NamedTuple):
    """A float32 matrix in memory, with its strides in elements."""

    pointer: Value
    row_stride: int
    column_stride: int = 1

    def block(self, builder: VectorBuilder, row: Index = 0, column: Index = 0) -> "Matrix":
        """Return the block that begins at this row and column."""
        row_offset = builder.index_mul(row, self.row_stride)
        offset = builder.index_add(row_offset, builder.index_mul(column, self.column_stride))
        return self._replace(pointer=builder.offset_pointer(self.pointer, offset))

    def transposed(self) -> "Matrix":
        """Return the transposed matrix, which lies in the same memory."""
        return Matrix(self.pointer, self.column_stride, self.row_stride)


class Epilogue(NamedTuple):
    """What happens to each element of a product before it is stored: operation(element, operand).

    The operand has the shape of the product and column_stride 1. It may be where the product is
    stored.
    """

    operation: Callable[[Value, Value], Value]
    operand: Matrix


def matmul(
    builder: VectorBuilder, a: Matrix, b: Matrix, out: Matrix,
    m: Index, k: Index, n: int, bias: Value | None = None, epilogue: Epilogue | None = None,
) -> None:  # fmt: skip
    """Emit out = a b + bias, and the epilogue.

    Args:
      builder: the builder of the kernel.
      a: [m, k].
      b: [k, n], with column_stride 1.
      out: [m, n], with column_stride 1.
      m: the number of rows of a.
      k: the number of columns of a.
      n: the number of columns of b.
      bias: a pointer to [n], or None for no bias.
      epilogue: what happens to a b + bias, or None.
    """

    def take_columns(start: Index, _: int) -> Matrix:
        return b.block(builder, column=start)

    _matmul(builder, a, take_columns, out, m, k, n, bias, epilogue)


def matmul_in_panels(
    builder: VectorBuilder, a: Matrix, write_panel: Callable[[Matrix, Index, int], None],
    out: Matrix, m: Index, k: Index, n: int, panel: Value,
    bias: Value | None = None, epilogue: Epilogue | None = None,
) -> None:  # fmt: skip
    """Emit `matmul` for a large b, or for one that is stored in another order.

    Before it multiplies by some columns of b, it writes them side by side into scratch memory that
    fits into the L2 cache, and reads them there once for each tile of rows.

    Args:
      builder: the builder of the kernel.
      a: [m, k].
      write_panel: write_panel(target, start, width) emits code that writes the columns from start
        to start + width of b to target [k, panel width].
      out: [m, n], with column_stride 1.
      m: the number of rows of a.
      k: the number of columns of a.
      n: the number of columns of b.
      panel: the pointer to the scratch memory [k, panel width]; see `panel_width`.
      bias: a pointer to [n], or None for no bias.
      epilogue: what happens to a b + bias, or None.
    """
    panel_matrix = Matrix(panel, panel_width(n, builder.lanes, builder.registers))

    def take_columns(start: Index, width: int) -> Matrix:
        write_panel(panel_matrix, start, width)
        return panel_matrix

    _matmul(builder, a, take_columns, out, m, k, n, bias, epilogue)


def panel_width(n: int, lanes: int, registers: int) -> int:
    """Return the number of columns that are multiplied at a time, of n columns."""
    return lanes * _even_tile(math.ceil(n / lanes), registers // 8)


def _matmul(
    builder: VectorBuilder, a: Matrix, take_columns: Callable[[Index, int], Matrix], out: Matrix,
    m: Index, k: Index, n: int, bias: Value | None, epilogue: Epilogue | None,
) -> None:  # fmt: skip
    """Emit a loop over the column tiles of b, which take_columns(start, width) returns."""

    def column_tile(start: Index, width: int) -> None:
        b_tile, out_tile = take_columns(start, width), out.block(builder, column=start)
        bias_tile = builder.offset_pointer(bias, start) if bias else None
        epilogue_tile = _epilogue_block(builder, epilogue, column=start)
        _column_tile(builder, a, b_tile, out_tile, m, k, width, bias_tile, epilogue_tile)

    builder.tiled_loop(n, panel_width(n, builder.lanes, builder.registers), column_tile)


def _epilogue_block(
    builder: VectorBuilder, epilogue: Epilogue | None, row: Index = 0, column: Index = 0
) -> Epilogue | None:
    """Return the epilogue for the block of a product that begins at this row and column."""
    return epilogue and epilogue._replace(operand=epilogue.operand.block(builder, row, column))


def _column_tile(
    builder: VectorBuilder, a: Matrix, b: Matrix, out: Matrix,
    m: Index, k: Index, width: int, bias: Value | None, epilogue: Epilogue | None,
) -> None:  # fmt: skip
    """Emit a loop over the tiles of the first `width` columns."""

    def tile(start: Index, height: int) -> None:
        a_tile, out_tile = a.block(builder, start), out.block(builder, start)
        epilogue_tile = _epilogue_block(builder, epilogue, start)
        _microkernel(builder, a_tile, b, out_tile, height, k, width, bias, epilogue_tile)

    height = TILE_ROWS
    if isinstance(m, int):
        # A narrower tile is higher, so that it has as many accumulators.
        vectors = len(builder.vectors(width))
        height = _even_tile(m, TILE_ROWS * (builder.registers // 8 // vectors))
    builder.tiled_loop(m, height, tile)


def _even_tile(size: int, max_tile: int) -> int:
    """Return the size of a tile with which the last tile is nearly as large as the others."""
    return math.ceil(size / math.ceil(size / max_tile))


def _microkernel(
    builder: VectorBuilder, a: Matrix, b: Matrix, out: Matrix,
    height: int, k: Index, width: int, bias: Value | None, epilogue: Epilogue | None,
) -> None:  # fmt: skip
    """Emit a loop over k for one tile [height, width], with accumulators in SIMD registers."""
    columns = builder.vectors(width)

    def rank_one_update(step: Value, *accumulators: Value) -> list[Value]:
        b_row = builder.index_mul(step, b.row_stride)
        a_column = builder.index_mul(step, a.column_stride)
        b_vectors = [
            builder.load(b.pointer, builder.index_add(b_row, column), count)
            for column, count in columns
        ]
        a_splats = [
            builder.load_splat(a.pointer, builder.index_add(a_column, row * a.row_stride))
            for row in range(height)
        ]
        pairs = itertools.product(a_splats, b_vectors)
        return [builder.fma(*pair, sum_) for pair, sum_ in zip(pairs, accumulators, strict=True)]

    init = [
        builder.load(bias, column, count) if bias else builder.splat(0.0)
        for column, count in columns
    ]
    sums = iter(builder.for_loop(k, rank_one_update, *init * height))
    for row, (column, count) in itertools.product(range(height), columns):
        element = next(sums)
        if epilogue:
            operand_offset = row * epilogue.operand.row_stride + column
            operand = builder.load(epilogue.operand.pointer, operand_offset, count)
            element = epilogue.operation(element, operand)
        builder.store(element, out.pointer, row * out.row_stride + column, count)
