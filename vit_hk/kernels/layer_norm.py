"""LayerNorm (arXiv 1607.06450), whose rows stay in registers."""

import functools
from collections.abc import Iterable

import jax

from vit_hk.kernels.code import Code, Value
from vit_hk.kernels.compiler import run

# Google's ViT and timm use 1e-6; Haiku's and torch's own default is 1e-5.
EPSILON = 1e-6
# A row is written out register by register: the code of a wider one takes long to compile.
WIDEST = 4096


@jax.custom_vjp
def layer_norm(x: jax.Array, scale: jax.Array, offset: jax.Array) -> jax.Array:
    """(x - mean) / sqrt(variance + EPSILON) * scale + offset, for each row.

    Args:
      x: float32 [rows, D]; D is a multiple of `processor().lanes`, and at most WIDEST.
      scale: float32 [D].
      offset: float32 [D].
    """
    return _forward(x, scale, offset)[0]


_Arrays = tuple[jax.Array, ...]


def _forward(x: jax.Array, scale: jax.Array, offset: jax.Array) -> tuple[jax.Array, _Arrays]:
    rows, width = x.shape
    results = [(rows, width), (rows,), (rows,)]
    normal, mean, inverse = run(layer_norm_forward, (width,), [x, scale, offset], results)
    return normal, (x, scale, mean, inverse)


def _backward(kept: _Arrays, gradient: jax.Array) -> _Arrays:
    rows, width = gradient.shape
    results = [(rows, width), (width,), (width,)]
    return tuple(run(layer_norm_backward, (width,), [*kept, gradient], results))


layer_norm.defvjp(_forward, _backward)


def layer_norm_forward(
    code: Code, rows: Value, shape: tuple[int],
    x: Value, scale: Value, offset: Value,
    normal: Value, means: Value, inverses: Value,
) -> None:  # fmt: skip
    """Of each row also its mean, and one over its deviation. `shape` is (D,)."""
    (width,) = shape
    columns = range(0, width, code.lanes)

    def one_row(row: Value) -> None:
        start = code.times(row, width)
        values = [code.load(x, code.plus(start, column)) for column in columns]
        mean = _mean(code, values, width)
        centered = [code.subtract(value, mean) for value in values]
        variance = _mean(code, [code.multiply(c, c) for c in centered], width)
        deviation = code.square_root(code.add(variance, code.constant(EPSILON)))
        inverse = code.divide(code.constant(1.0), deviation)
        for c, column in zip(centered, columns, strict=True):
            factor, summand = code.load(scale, column), code.load(offset, column)
            result = code.multiply_add(code.multiply(c, inverse), factor, summand)
            code.store(result, normal, code.plus(start, column))
        code.store_one(mean, means, row)
        code.store_one(inverse, inverses, row)

    code.repeat(rows, one_row)


def layer_norm_backward(
    code: Code, rows: Value, shape: tuple[int],
    x: Value, scale: Value, means: Value, inverses: Value, gradient: Value,
    d_x: Value, d_scale: Value, d_offset: Value,
) -> None:  # fmt: skip
    """`shape` is (D,)."""
    (width,) = shape
    columns = range(0, width, code.lanes)
    for column in columns:
        code.store(code.constant(0.0), d_scale, column)
        code.store(code.constant(0.0), d_offset, column)

    def one_row(row: Value) -> None:
        start = code.times(row, width)
        mean, inverse = code.load_one(means, row), code.load_one(inverses, row)
        normal, scaled = [], []
        for column in columns:
            centered = code.subtract(code.load(x, code.plus(start, column)), mean)
            n, g = code.multiply(centered, inverse), code.load(gradient, code.plus(start, column))
            code.store(code.multiply_add(g, n, code.load(d_scale, column)), d_scale, column)
            code.store(code.add(g, code.load(d_offset, column)), d_offset, column)
            normal.append(n)
            scaled.append(code.multiply(g, code.load(scale, column)))
        of_mean = _mean(code, scaled, width)
        of_deviation = _mean(code, map(code.multiply, scaled, normal), width)
        for s, n, column in zip(scaled, normal, columns, strict=True):
            inner = code.subtract(code.subtract(s, of_mean), code.multiply(n, of_deviation))
            code.store(code.multiply(inverse, inner), d_x, code.plus(start, column))

    code.repeat(rows, one_row)


def _mean(code: Code, registers: Iterable[Value], count: int) -> Value:
    """Of all their numbers, in all lanes."""
    total = code.sum_of_lanes(functools.reduce(code.add, registers))
    return code.multiply(total, code.constant(1 / count))
