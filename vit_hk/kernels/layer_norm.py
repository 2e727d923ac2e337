"""LayerNorm (arXiv 1607.06450), as a kernel that keeps each row in SIMD registers."""

import functools
from collections.abc import Iterable

import jax

from vit_hk.kernels.compiler import EmitKernel, call_kernel
from vit_hk.kernels.vector_builder import Value, VectorBuilder

# The only epsilon of the kernels: that of Google's ViT and timm; transformers' ViT has 1e-12.
EPSILON = 1e-6
# The loop over a row is fully unrolled, so a wider row would take long to compile.
MAX_WIDTH = 4096


@jax.custom_vjp
def layer_norm(x: jax.Array, scale: jax.Array, offset: jax.Array) -> jax.Array:
    """Return (x - mean) / sqrt(variance + EPSILON) * scale + offset, for each row.

    Args:
      x: float32 [rows, D]; D is at most MAX_WIDTH.
      scale: float32 [D].
      offset: float32 [D].

    Returns:
      float32 [rows, D].
    """
    return _forward(x, scale, offset)[0]


@jax.custom_vjp
def layer_norm_and_input(
    x: jax.Array, scale: jax.Array, offset: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return the LayerNorm of x and x itself, both float32 [rows, D]; see `layer_norm`.

    It is for the residual connection around what follows: the backward kernel adds up the gradients
    of both.
    """
    return layer_norm(x, scale, offset), x


_Residuals = tuple[jax.Array, jax.Array, jax.Array, jax.Array]


def _forward(x: jax.Array, scale: jax.Array, offset: jax.Array) -> tuple[jax.Array, _Residuals]:
    rows, width = x.shape
    shapes = [(rows, width), (rows,), (rows,)]
    out, mean, inverse_std = call_kernel(layer_norm_forward, (width,), [x, scale, offset], shapes)
    return out, (x, scale, mean, inverse_std)


def _forward_and_input(
    x: jax.Array, scale: jax.Array, offset: jax.Array
) -> tuple[tuple[jax.Array, jax.Array], _Residuals]:
    out, residuals = _forward(x, scale, offset)
    return (out, x), residuals


def _backward(residuals: _Residuals, d_out: jax.Array) -> tuple[jax.Array, ...]:
    return _call_backward(layer_norm_backward, *residuals, d_out)


def _backward_and_input(
    residuals: _Residuals, gradients: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, ...]:
    return _call_backward(layer_norm_and_input_backward, *residuals, *gradients)


def _call_backward(kernel: EmitKernel, *operands: jax.Array) -> tuple[jax.Array, ...]:
    rows, width = operands[0].shape
    shapes = [(rows, width), (width,), (width,)]
    return tuple(call_kernel(kernel, (width,), operands, shapes))


layer_norm.defvjp(_forward, _backward)
layer_norm_and_input.defvjp(_forward_and_input, _backward_and_input)


def layer_norm_forward(
    builder: VectorBuilder, rows: Value, sizes: tuple[int],
    x: Value, scale: Value, offset: Value,
    out: Value, means: Value, inverse_stds: Value,
) -> None:  # fmt: skip
    """Emit the forward kernel of LayerNorm; `sizes` is (D,).

    It also stores the mean and 1 / std of each row, as residuals.
    """
    (width,) = sizes
    columns = builder.vectors(width)

    def one_row(row: Value) -> None:
        start = builder.index_mul(row, width)
        values = [
            builder.load(x, builder.index_add(start, column), count) for column, count in columns
        ]
        mean = _mean(builder, values, width)
        centered = [
            builder.zero_after(count, builder.sub(value, mean))
            for value, (_, count) in zip(values, columns, strict=True)
        ]
        variance = _mean(builder, [builder.mul(c, c) for c in centered], width)
        std = builder.sqrt(builder.add(variance, builder.splat(EPSILON)))
        inverse_std = builder.div(builder.splat(1.0), std)
        for c, (column, count) in zip(centered, columns, strict=True):
            scale_vector = builder.load(scale, column, count)
            offset_vector = builder.load(offset, column, count)
            normalized = builder.mul(c, inverse_std)
            result = builder.fma(normalized, scale_vector, offset_vector)
            builder.store(result, out, builder.index_add(start, column), count)
        builder.store_scalar(mean, means, row)
        builder.store_scalar(inverse_std, inverse_stds, row)

    builder.for_loop(rows, one_row)


def layer_norm_backward(
    builder: VectorBuilder, rows: Value, sizes: tuple[int],
    x: Value, scale: Value, means: Value, inverse_stds: Value, d_out: Value,
    d_x: Value, d_scale: Value, d_offset: Value, d_input: Value | None = None,
) -> None:  # fmt: skip
    """Emit the kernel of the gradients of x, scale and offset; `sizes` is (D,).

    It adds d_input [rows, D] to d_x, if there is one.
    """
    (width,) = sizes
    columns = builder.vectors(width)
    for column, count in columns:
        builder.store(builder.splat(0.0), d_scale, column, count)
        builder.store(builder.splat(0.0), d_offset, column, count)

    def one_row(row: Value) -> None:
        start = builder.index_mul(row, width)
        mean, inverse_std = builder.load_splat(means, row), builder.load_splat(inverse_stds, row)
        normalized, d_normalized = [], []
        for column, count in columns:
            x_vector = builder.load(x, builder.index_add(start, column), count)
            centered = builder.zero_after(count, builder.sub(x_vector, mean))
            n = builder.mul(centered, inverse_std)
            d = builder.load(d_out, builder.index_add(start, column), count)
            d_scale_vector = builder.fma(d, n, builder.load(d_scale, column, count))
            builder.store(d_scale_vector, d_scale, column, count)
            d_offset_vector = builder.add(d, builder.load(d_offset, column, count))
            builder.store(d_offset_vector, d_offset, column, count)
            normalized.append(n)
            d_normalized.append(builder.mul(d, builder.load(scale, column, count)))
        # The parts of the gradient that pass through the mean and through the standard deviation.
        through_mean = _mean(builder, d_normalized, width)
        through_std = _mean(builder, map(builder.mul, d_normalized, normalized), width)
        for d, n, (column, count) in zip(d_normalized, normalized, columns, strict=True):
            d_centered = builder.sub(builder.sub(d, through_mean), builder.mul(n, through_std))
            d_x_vector = builder.mul(inverse_std, d_centered)
            position = builder.index_add(start, column)
            if d_input:
                d_x_vector = builder.add(d_x_vector, builder.load(d_input, position, count))
            builder.store(d_x_vector, d_x, position, count)

    builder.for_loop(rows, one_row)


def layer_norm_and_input_backward(
    builder: VectorBuilder, rows: Value, sizes: tuple[int],
    x: Value, scale: Value, means: Value, inverse_stds: Value, d_out: Value, d_input: Value,
    d_x: Value, d_scale: Value, d_offset: Value,
) -> None:  # fmt: skip
    """Emit `layer_norm_backward` that adds the gradient of x itself, d_input [rows, D]."""
    operands, results = (x, scale, means, inverse_stds, d_out), (d_x, d_scale, d_offset)
    layer_norm_backward(builder, rows, sizes, *operands, *results, d_input)


def _mean(builder: VectorBuilder, vectors: Iterable[Value], count: int) -> Value:
    """Return the mean of all `count` elements of the vectors, in all lanes."""
    total = builder.reduce_sum(functools.reduce(builder.add, vectors))
    return builder.mul(total, builder.splat(1 / count))
