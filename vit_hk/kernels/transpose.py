"""Transpose of a matrix in memory, as part of a kernel."""

from vit_hk.kernels.matmul import Matrix
from vit_hk.kernels.vector_builder import Index, VectorBuilder


def transpose(
    builder: VectorBuilder,
    source: Matrix,
    target: Matrix,
    rows: int,
    columns: int,
    factor: float = 1.0,
) -> None:
    """Emit target [columns, rows] = factor * source [rows, columns]^T.

    Args:
      builder: the builder of the kernel.
      source: a matrix with column_stride 1.
      target: a matrix with column_stride 1 whose rows have room for whole SIMD vectors; the padding
        is set to zero.
      rows: the number of rows of the source.
      columns: the number of columns of the source.
      factor: a constant that scales the result.
    """
    lanes = builder.lanes

    def row_tile(start: Index, count: int) -> None:
        def block(column: Index, width: int) -> None:
            source_block = builder.offset_pointer(
                source.pointer,
                builder.index_add(builder.index_mul(start, source.row_stride), column),
            )
            target_block = builder.offset_pointer(
                target.pointer,
                builder.index_add(builder.index_mul(column, target.row_stride), start),
            )
            vectors = [
                builder.load(source_block, row * source.row_stride, width) for row in range(count)
            ]
            vectors += [builder.splat(0.0)] * (lanes - count)
            for row, vector in enumerate(builder.transpose(vectors)[:width]):
                scaled = builder.mul(vector, builder.splat(factor))
                builder.store(scaled, target_block, row * target.row_stride)

        builder.tiled_loop(columns, lanes, block)

    builder.tiled_loop(rows, lanes, row_tile)
