"""A linear layer and its gradients, without copies of transposed inputs."""

import jax

from vit_hk.kernels.code import Code, Index, Value
from vit_hk.kernels.compiler import fits, run
from vit_hk.kernels.products import Matrix, multiply
from vit_hk.kernels.transpose import transpose

SUMS = 4  # registers of a bias whose gradient is added up at a time


@jax.custom_vjp
def linear(x: jax.Array, w: jax.Array, b: jax.Array) -> jax.Array:
    """The product x w + b, [rows, M].

    Args:
      x: float32 [rows, D].
      w: float32 [D, M]; M is a multiple of `processor().lanes`.
      b: float32 [M].
    """
    return _forward(x, w, b)[0]


_Kept = tuple[jax.Array, jax.Array]


def _forward(x: jax.Array, w: jax.Array, b: jax.Array) -> tuple[jax.Array, _Kept]:
    (result,) = run(linear_forward, w.shape, [x, w, b], [(len(x), len(b))])
    return result, (x, w)


def _backward(kept: _Kept, gradient: jax.Array) -> tuple[jax.Array, ...]:
    x, w = kept
    d_w, d_b = run(linear_backward, w.shape, [x, gradient], [w.shape, w.shape[1:]])
    if not fits(x, len(w)):
        return gradient @ w.T, d_w, d_b
    d_x, _ = run(linear_backward_x, w.shape, [gradient, w], [x.shape, w.shape[::-1]])
    return d_x, d_w, d_b


linear.defvjp(_forward, _backward)


def linear_forward(
    code: Code, rows: Value, shape: tuple[int, int], x: Value, w: Value, b: Value, result: Value
) -> None:
    """`shape` is (D, M)."""
    depth, width = shape
    multiply(code, Matrix(x, depth), Matrix(w, width), Matrix(result, width), rows, depth, width, b)


def linear_backward(
    code: Code, rows: Value, shape: tuple[int, int],
    x: Value, gradient: Value, d_w: Value, d_b: Value,
) -> None:  # fmt: skip
    """`shape` is (D, M)."""
    depth, width = shape
    g = Matrix(gradient, width)
    multiply(code, Matrix(x, 1, depth), g, Matrix(d_w, width), depth, rows, width)
    _sum_rows(code, g, rows, width, d_b)


def linear_backward_x(
    code: Code, rows: Value, shape: tuple[int, int],
    gradient: Value, w: Value, d_x: Value, w_transposed: Value,
) -> None:  # fmt: skip
    """`shape` is (D, M). Works with w_transposed [M, D]."""
    depth, width = shape
    w_t = Matrix(w_transposed, depth)
    transpose(code, Matrix(w, width), w_t, depth, width)
    multiply(code, Matrix(gradient, width), w_t, Matrix(d_x, depth), rows, width, depth)


def _sum_rows(code: Code, matrix: Matrix, rows: Value, width: int, sums: Value) -> None:
    """The sum of all rows, [width]."""

    def some_columns(first: Index, count: int) -> None:
        columns = [code.plus(first, column) for column in range(0, count, code.lanes)]

        def add_row(row: Value, *before: Value) -> list[Value]:
            start = code.times(row, matrix.next_row)
            return [
                code.add(sum_, code.load(matrix.array, code.plus(start, column)))
                for sum_, column in zip(before, columns, strict=True)
            ]

        found = code.repeat(rows, add_row, *[code.constant(0.0) for _ in columns])
        for sum_, column in zip(found, columns, strict=True):
            code.store(sum_, sums, column)

    code.in_parts(width, SUMS * code.lanes, some_columns)
