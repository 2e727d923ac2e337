"""A linear layer and its gradients, as kernels.

The gradient of w reads x with strides, so it needs no transposed copy of x.
"""

import jax

from vit_hk.kernels.compiler import call_kernel, simd_target
from vit_hk.kernels.matmul import Matrix, matmul, matmul_in_panels, panel_width
from vit_hk.kernels.transpose import transpose
from vit_hk.kernels.vector_builder import Index, Value, VectorBuilder

# Smaller weights stay in an L2 of 1 MiB or more, and the forward pass gains nothing from panels.
MIN_ELEMENTS_FOR_PANELS = 2**18
BIAS_TILE_VECTORS = 4  # SIMD vectors of a bias gradient that one loop over the rows accumulates


@jax.custom_vjp
def linear(x: jax.Array, w: jax.Array, b: jax.Array) -> jax.Array:
    """Return x w + b.

    Args:
      x: float32 [rows, in].
      w: float32 [in, out].
      b: float32 [out].

    Returns:
      float32 [rows, out].
    """
    return _forward(x, w, b)[0]


_Residuals = tuple[jax.Array, jax.Array]


def _forward(x: jax.Array, w: jax.Array, b: jax.Array) -> tuple[jax.Array, _Residuals]:
    operands, out_shape = [x, w, b], (len(x), len(b))
    if w.size < MIN_ELEMENTS_FOR_PANELS:
        (out,) = call_kernel(linear_forward, w.shape, operands, [out_shape])
    else:
        shapes = [out_shape, _panel_shape(*w.shape)]
        out, _ = call_kernel(linear_forward_in_panels, w.shape, operands, shapes)
    return out, (x, w)


def _backward(residuals: _Residuals, d_out: jax.Array) -> tuple[jax.Array, ...]:
    x, w = residuals
    d_w, d_b = call_kernel(linear_backward_w_b, w.shape, [x, d_out], [w.shape, w.shape[1:]])
    shapes = [x.shape, _panel_shape(w.shape[1], len(w))]
    d_x, _ = call_kernel(linear_backward_x, w.shape, [d_out, w], shapes)
    return d_x, d_w, d_b


def _panel_shape(rows: int, columns: int) -> tuple[int, int]:
    """Return the shape of a panel of a matrix [rows, columns]."""
    return rows, panel_width(columns, *simd_target())


linear.defvjp(_forward, _backward)


def linear_forward(
    builder: VectorBuilder, rows: Value, sizes: tuple[int, int],
    x: Value, w: Value, b: Value, out: Value,
) -> None:  # fmt: skip
    """Emit the forward kernel of a linear layer; `sizes` is (in, out)."""
    in_size, out_size = sizes
    x_matrix, w_matrix = Matrix(x, in_size), Matrix(w, out_size)
    matmul(builder, x_matrix, w_matrix, Matrix(out, out_size), rows, in_size, out_size, b)


def linear_forward_in_panels(
    builder: VectorBuilder, rows: Value, sizes: tuple[int, int],
    x: Value, w: Value, b: Value, out: Value, panel: Value,
) -> None:  # fmt: skip
    """Emit the forward kernel for large weights, whose columns it copies into scratch memory."""
    in_size, out_size = sizes

    def copy_columns(target: Matrix, start: Index, width: int) -> None:
        source = builder.offset_pointer(w, start)

        def copy_row(row: Value) -> None:
            from_, to = (builder.index_mul(row, stride) for stride in (out_size, target.row_stride))
            for column, count in builder.vectors(width):
                vector = builder.load(source, builder.index_add(from_, column), count)
                builder.store(vector, target.pointer, builder.index_add(to, column))

        builder.for_loop(in_size, copy_row)

    x_matrix, out_matrix = Matrix(x, in_size), Matrix(out, out_size)
    matmul_in_panels(builder, x_matrix, copy_columns, out_matrix, rows, in_size, out_size, panel, b)


def linear_backward_w_b(
    builder: VectorBuilder, rows: Value, sizes: tuple[int, int],
    x: Value, d_out: Value, d_w: Value, d_b: Value,
) -> None:  # fmt: skip
    """Emit the kernel of the gradients of w and b; `sizes` is (in, out)."""
    in_size, out_size = sizes
    x_transposed, d_out_matrix = Matrix(x, 1, in_size), Matrix(d_out, out_size)
    matmul(builder, x_transposed, d_out_matrix, Matrix(d_w, out_size), in_size, rows, out_size)
    _sum_rows(builder, d_out_matrix, rows, out_size, d_b)


def linear_backward_x(
    builder: VectorBuilder, rows: Value, sizes: tuple[int, int],
    d_out: Value, w: Value, d_x: Value, panel: Value,
) -> None:  # fmt: skip
    """Emit the kernel of the gradient of x; `sizes` is (in, out).

    It transposes w panel by panel, since `matmul` loads SIMD vectors from the rows of its second
    matrix.
    """
    in_size, out_size = sizes

    def transpose_rows(target: Matrix, start: Index, width: int) -> None:
        first_row = builder.offset_pointer(w, builder.index_mul(start, out_size))
        transpose(builder, Matrix(first_row, out_size), target, width, out_size)

    d_out_matrix, d_x_matrix = Matrix(d_out, out_size), Matrix(d_x, in_size)
    matmul_in_panels(
        builder, d_out_matrix, transpose_rows, d_x_matrix, rows, out_size, in_size, panel
    )


def _sum_rows(
    builder: VectorBuilder, matrix: Matrix, rows: Value, columns: int, sums: Value
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

    builder.tiled_loop(columns, BIAS_TILE_VECTORS * builder.lanes, column_tile)
