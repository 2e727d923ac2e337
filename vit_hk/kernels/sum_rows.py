"""The sum over the rows of a matrix, as part of a kernel."""

from vit_hk.kernels.matmul import Matrix
from vit_hk.kernels.vector_builder import Index, Value, VectorBuilder

TILE_VECTORS = 4  # SIMD vectors of sums that one loop over the rows accumulates


def sum_rows(
    builder: VectorBuilder, matrix: Matrix, rows: Index, columns: int, sums: Value
) -> None:
    """Emit code that stores the sum over the rows of matrix [rows, columns] to sums [columns]."""

    def column_tile(start: Index, width: int) -> None:
        vectors = [
            (builder.index_add(start, column), count) for column, count in builder.vectors(width)
        ]

        def add_row(row: Value, *accumulators: Value) -> list[Value]:
            row_start = builder.index_mul(row, matrix.row_stride)
            return [
                builder.add(
                    sum_, builder.load(matrix.pointer, builder.index_add(row_start, offset), count)
                )
                for sum_, (offset, count) in zip(accumulators, vectors, strict=True)
            ]

        totals = builder.for_loop(rows, add_row, *[builder.splat(0.0) for _ in vectors])
        for total, (offset, count) in zip(totals, vectors, strict=True):
            builder.store(total, sums, offset, count)

    builder.tiled_loop(columns, TILE_VECTORS * builder.lanes, column_tile)
