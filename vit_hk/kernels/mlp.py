"""The MLP of a Transformer block with its residual connection, as a kernel."""

import jax

from vit_hk.kernels.compiler import call_kernel, simd_target
from vit_hk.kernels.gelu import gelu_forward
from vit_hk.kernels.linear import linear_backward_w_b, linear_backward_x, linear_forward
from vit_hk.kernels.matmul import Epilogue, Matrix, panel_width
from vit_hk.kernels.matmul_nt import matmul_nt
from vit_hk.kernels.vector_builder import Value, VectorBuilder


@jax.custom_vjp
def mlp_residual(
    x: jax.Array, w_in: jax.Array, b_in: jax.Array, w_out: jax.Array, b_out: jax.Array,
    residual: jax.Array,
) -> jax.Array:  # fmt: skip
    """Return GELU(x w_in + b_in) w_out + b_out + residual.

    Args:
      x: float32 [rows, D].
      w_in: float32 [D, M].
      b_in: float32 [M].
      w_out: float32 [M, D].
      b_out: float32 [D].
      residual: float32 [rows, D].

    Returns:
      float32 [rows, D].
    """
    return _forward(x, w_in, b_in, w_out, b_out, residual)[0]


_Residuals = tuple[jax.Array, ...]


def _forward(
    x: jax.Array, w_in: jax.Array, b_in: jax.Array, w_out: jax.Array, b_out: jax.Array,
    residual: jax.Array,
) -> tuple[jax.Array, _Residuals]:  # fmt: skip
    operands, hidden_shape = [x, w_in, b_in, w_out, b_out, residual], (len(x), len(b_in))
    shapes = [x.shape, hidden_shape, hidden_shape, _panel_shape(*w_in.shape)]
    out, hidden, derivative, _ = call_kernel(mlp_forward, w_in.shape, operands, shapes)
    return out, (x, w_in, w_out, hidden, derivative)


def _backward(residuals: _Residuals, d_out: jax.Array) -> tuple[jax.Array, ...]:
    x, w_in, w_out, hidden, derivative = residuals
    shapes = [x.shape, hidden.shape, _panel_shape(*w_in.shape)]
    operands = [w_in, w_out, derivative]
    d_x, d_hidden, _ = call_kernel(mlp_backward_x, w_in.shape, [d_out, *operands], shapes)
    # A kernel of its own, which XLA leaves out where the weights are not trained.
    shapes = [w_in.shape, w_in.shape[1:], w_out.shape, w_out.shape[1:]]
    operands = [x, hidden, d_hidden, d_out]
    d_weights = call_kernel(mlp_backward_w_b, w_in.shape, operands, shapes)
    return d_x, *d_weights, d_out


mlp_residual.defvjp(_forward, _backward)


def _panel_shape(width: int, mlp_dim: int) -> tuple[int, int]:
    """Return the shape of scratch memory for a panel of either matrix or its transpose."""
    return max(width, mlp_dim), max(panel_width(n, *simd_target()) for n in (width, mlp_dim))


def mlp_forward(
    builder: VectorBuilder, rows: Value, sizes: tuple[int, int],
    x: Value, w_in: Value, b_in: Value, w_out: Value, b_out: Value, residual: Value,
    out: Value, hidden: Value, derivative: Value, panel: Value,
) -> None:  # fmt: skip
    """Emit the forward kernel; `sizes` is (D, M).

    For the gradient, it also stores GELU as `hidden` [rows, M], and its derivative.
    """
    width, mlp_dim = sizes
    linear_forward(builder, rows, (width, mlp_dim), x, w_in, b_in, hidden, panel)
    gelu_forward(builder, rows, (mlp_dim,), hidden, hidden, derivative)
    add = Epilogue(builder.add, Matrix(residual, width))
    linear_forward(builder, rows, (mlp_dim, width), hidden, w_out, b_out, out, panel, add)


def mlp_backward_x(
    builder: VectorBuilder, rows: Value, sizes: tuple[int, int],
    d_out: Value, w_in: Value, w_out: Value, derivative: Value,
    d_x: Value, d_hidden: Value, panel: Value,
) -> None:  # fmt: skip
    """Emit the kernel of the gradients of x and of x w_in + b_in, d_hidden [rows, M]."""
    width, mlp_dim = sizes
    d_out_matrix, w_out_matrix = Matrix(d_out, width), Matrix(w_out, width)
    d_hidden_matrix = Matrix(d_hidden, mlp_dim)
    multiply = Epilogue(builder.mul, Matrix(derivative, mlp_dim))
    matmul_nt(
        builder, d_out_matrix, w_out_matrix, d_hidden_matrix, rows, width, mlp_dim, panel, multiply
    )
    linear_backward_x(builder, rows, (width, mlp_dim), d_hidden, w_in, d_x, panel)


def mlp_backward_w_b(
    builder: VectorBuilder, rows: Value, sizes: tuple[int, int],
    x: Value, hidden: Value, d_hidden: Value, d_out: Value,
    d_w_in: Value, d_b_in: Value, d_w_out: Value, d_b_out: Value,
) -> None:  # fmt: skip
    """Emit the kernel of the gradients of weights and biases."""
    width, mlp_dim = sizes
    linear_backward_w_b(builder, rows, (width, mlp_dim), x, d_hidden, d_w_in, d_b_in)
    linear_backward_w_b(builder, rows, (mlp_dim, width), hidden, d_out, d_w_out, d_b_out)
