"""A linear layer and its gradients, as kernels.

The gradient of w reads x with strides, so it needs no transposed copy of x.
"""

import jax

from vit_hk.kernels.compiler import EmitKernel, call_kernel, simd_target
from vit_hk.kernels.matmul import Epilogue, Matrix, matmul, matmul_in_panels, panel_width
from vit_hk.kernels.matmul_nt import matmul_nt
from vit_hk.kernels.sum_rows import sum_rows
from vit_hk.kernels.vector_builder import Index, Value, VectorBuilder

# Smaller weights stay in an L2 of 1 MiB or more, and the forward pass gains nothing from panels.
MIN_ELEMENTS_FOR_PANELS = 2**18


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


@jax.custom_vjp
def linear_residual(x: jax.Array, w: jax.Array, b: jax.Array, residual: jax.Array) -> jax.Array:
    """Return x w + b + residual, as `linear`; the residual is float32 [rows, out]."""
    return _forward_residual(x, w, b, residual)[0]


_Residuals = tuple[jax.Array, jax.Array]


def _forward(x: jax.Array, w: jax.Array, b: jax.Array) -> tuple[jax.Array, _Residuals]:
    return _call_forward(linear_forward, x, w, b), (x, w)


def _forward_residual(
    x: jax.Array, w: jax.Array, b: jax.Array, residual: jax.Array
) -> tuple[jax.Array, _Residuals]:
    return _call_forward(linear_residual_forward, x, w, b, residual), (x, w)


def _call_forward(kernel: EmitKernel, *operands: jax.Array) -> jax.Array:
    x, w, *_ = operands
    shapes = [(len(x), w.shape[1]), _panel_shape(*w.shape)]
    out, _ = call_kernel(kernel, w.shape, operands, shapes)
    return out


def _backward(residuals: _Residuals, d_out: jax.Array) -> tuple[jax.Array, ...]:
    x, w = residuals
    d_w, d_b = call_kernel(linear_backward_w_b, w.shape, [x, d_out], [w.shape, w.shape[1:]])
    shapes = [x.shape, _panel_shape(w.shape[1], len(w))]
    d_x, _ = call_kernel(linear_backward_x, w.shape, [d_out, w], shapes)
    return d_x, d_w, d_b


def _backward_residual(residuals: _Residuals, d_out: jax.Array) -> tuple[jax.Array, ...]:
    return *_backward(residuals, d_out), d_out


def _panel_shape(rows: int, columns: int) -> tuple[int, int]:
    """Return the shape of a panel of a matrix [rows, columns]."""
    return rows, panel_width(columns, *simd_target())


linear.defvjp(_forward, _backward)
linear_residual.defvjp(_forward_residual, _backward_residual)


def linear_forward(
    builder: VectorBuilder, rows: Value, sizes: tuple[int, int],
    x: Value, w: Value, b: Value, out: Value, panel: Value, epilogue: Epilogue | None = None,
) -> None:  # fmt: skip
    """Emit the forward kernel of a linear layer; `sizes` is (in, out).

    The panel is scratch memory, into which columns of large weights are copied.
    """
    in_size, out_size = sizes
    x_matrix, w_matrix, out_matrix = Matrix(x, in_size), Matrix(w, out_size), Matrix(out, out_size)

    def copy_columns(target: Matrix, start: Index, width: int) -> None:
        source = w_matrix.block(builder, column=start)

        def copy_row(row: Value) -> None:
            from_, to = (builder.index_mul(row, m.row_stride) for m in (source, target))
            for column, count in builder.vectors(width):
                vector = builder.load(source.pointer, builder.index_add(from_, column), count)
                builder.store(vector, target.pointer, builder.index_add(to, column))

        builder.for_loop(in_size, copy_row)

    shape = rows, in_size, out_size
    if in_size * out_size < MIN_ELEMENTS_FOR_PANELS:
        matmul(builder, x_matrix, w_matrix, out_matrix, *shape, b, epilogue)
    else:
        matmul_in_panels(builder, x_matrix, copy_columns, out_matrix, *shape, panel, b, epilogue)


def linear_residual_forward(
    builder: VectorBuilder, rows: Value, sizes: tuple[int, int],
    x: Value, w: Value, b: Value, residual: Value, out: Value, panel: Value,
) -> None:  # fmt: skip
    """Emit the forward kernel of a linear layer and the residual connection around it."""
    add = Epilogue(builder.add, Matrix(residual, sizes[1]))
    linear_forward(builder, rows, sizes, x, w, b, out, panel, add)


def linear_backward_w_b(
    builder: VectorBuilder, rows: Value, sizes: tuple[int, int],
    x: Value, d_out: Value, d_w: Value, d_b: Value,
) -> None:  # fmt: skip
    """Emit the kernel of the gradients of w and b; `sizes` is (in, out)."""
    in_size, out_size = sizes
    x_matrix, d_out_matrix = Matrix(x, in_size), Matrix(d_out, out_size)
    matmul(
        builder, x_matrix.transposed(), d_out_matrix, Matrix(d_w, out_size), in_size, rows, out_size
    )
    sum_rows(builder, d_out_matrix, rows, out_size, d_b)


def linear_backward_x(
    builder: VectorBuilder, rows: Value, sizes: tuple[int, int],
    d_out: Value, w: Value, d_x: Value, panel: Value,
) -> None:  # fmt: skip
    """Emit the kernel of the gradient of x; `sizes` is (in, out)."""
    in_size, out_size = sizes
    d_out_matrix, w_matrix = Matrix(d_out, out_size), Matrix(w, out_size)
    d_x_matrix = Matrix(d_x, in_size)
    matmul_nt(builder, d_out_matrix, w_matrix, d_x_matrix, rows, out_size, in_size, panel)
