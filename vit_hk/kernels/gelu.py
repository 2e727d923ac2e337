"""GELU with the error function (arXiv 1606.08415), as a kernel.

GELU(x) = x Phi(x) has the derivative Phi(x) + x phi(x), where phi is the density of the standard
normal distribution, and Phi is its distribution function. The forward kernel computes both GELU and
the derivative, which share the expensive part: phi(x) is a power of 2 times a constant, and
Phi(-|x|) is the same power times a polynomial in |x|.
"""

import functools
import math

import jax

from vit_hk.kernels.compiler import call_kernel
from vit_hk.kernels.vector_builder import Index, Value, VectorBuilder

# Phi(-x) exp(x^2 / 2) = sum of a_n x^n for 0 <= x <= 7, with an error of Phi(-x) of at most 2e-8.
# A minimax fit: least squares, reweighted until all peaks of the error were equal.
TAIL_COEFFICIENTS = [
    0.49999998304, -0.39894060220, 0.24997257267, -0.13280578600, 0.06192393125, -0.02547181630,
    9.0038465643e-3, -2.5900898564e-3, 5.6365255235e-4, -8.4770954500e-5, 7.7087744497e-6,
    -3.1554283305e-7,
]  # fmt: skip
MAX_INPUT = 10.0  # from here on the power of 2 makes the product with the polynomial negligible
MAX_FLOAT32 = 3.4028234663852886e38


@jax.custom_vjp
def gelu(x: jax.Array) -> jax.Array:
    """Return GELU of each element.

    Args:
      x: float32 [rows, width].

    Returns:
      float32 [rows, width].
    """
    return _forward(x)[0]


def _forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    out, derivative = call_kernel(gelu_forward, x.shape[1:], [x], [x.shape, x.shape])
    return out, derivative


def _backward(derivative: jax.Array, d_out: jax.Array) -> tuple[jax.Array]:
    return (derivative * d_out,)


gelu.defvjp(_forward, _backward)


def gelu_forward(
    builder: VectorBuilder, rows: Value, sizes: tuple[int],
    x: Value, out: Value, derivative: Value,
) -> None:  # fmt: skip
    """Emit the kernel of GELU and its derivative; `sizes` is (width,)."""
    (width,) = sizes

    def one_vector(row: Value, column: Index, count: int) -> None:
        offset = builder.index_add(builder.index_mul(row, width), column)
        x_vector = builder.load(x, offset, count)
        magnitude = builder.minimum(builder.splat(MAX_INPUT), builder.abs(x_vector))
        exponent = builder.mul(magnitude, builder.mul(magnitude, builder.splat(-0.5 / math.log(2))))
        power = builder.exp2(exponent)
        tail = builder.mul(power, builder.polynomial(TAIL_COEFFICIENTS, magnitude))
        one_minus_tail = builder.sub(builder.splat(1.0), tail)
        is_positive = builder.compare(">", x_vector, builder.splat(0.0))
        distribution = builder.select(is_positive, one_minus_tail, tail)
        density = builder.mul(power, builder.splat((2 * math.pi) ** -0.5))
        # x is clamped, since a huge x times the tiny tail or density would not be 0.
        clamped_below = builder.maximum(builder.splat(-MAX_INPUT), x_vector)
        clamped = builder.minimum(builder.splat(MAX_INPUT), clamped_below)
        # As in jax.numpy, GELU of -inf is NaN, and so is its derivative at both infinities.
        zero_or_nan = builder.sub(x_vector, x_vector)
        is_minus_infinity = builder.compare("<", x_vector, builder.splat(-MAX_FLOAT32))
        weighted = builder.mul(clamped_below, distribution)
        builder.store(builder.select(is_minus_infinity, zero_or_nan, weighted), out, offset, count)
        slope = builder.add(builder.fma(clamped, density, distribution), zero_or_nan)
        builder.store(slope, derivative, offset, count)

    def one_row(row: Value) -> None:
        builder.tiled_loop(width, builder.lanes, functools.partial(one_vector, row))

    builder.for_loop(rows, one_row)
