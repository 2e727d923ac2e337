"""GELU with the error function (arXiv 1606.08415).

x Phi(x), where Phi is the normal distribution, has the slope Phi(x) + x phi(x). The forward pass
gives both, since they share what is expensive: phi(x), the density, is a power of 2, and
Phi(-|x|) = phi(x) times a polynomial in |x|.
"""

import math

import jax

from vit_hk.kernels.code import Code, Value
from vit_hk.kernels.compiler import run

# Phi(-x) exp(x^2 / 2) = sum of a_n x^n for 0 <= x <= 7, where errors of Phi(-x) are at most 2e-8:
# weighted least squares whose weights were changed until no error was larger than the others.
TAIL = [
    0.49999998304, -0.39894060220, 0.24997257267, -0.13280578600, 0.06192393125, -0.02547181630,
    9.0038465643e-3, -2.5900898564e-3, 5.6365255235e-4, -8.4770954500e-5, 7.7087744497e-6,
    -3.1554283305e-7,
]  # fmt: skip
FARTHEST = 10.0  # where the power of 2 lets nothing of the polynomial remain


@jax.custom_vjp
def gelu(x: jax.Array) -> jax.Array:
    """Of each number of x, float32 [rows, M]; M is a multiple of `processor().lanes`."""
    return _forward(x)[0]


def _forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    result, slope = run(gelu_forward, x.shape[1:], [x], [x.shape, x.shape])
    return result, slope


def _backward(slope: jax.Array, gradient: jax.Array) -> tuple[jax.Array]:
    return (slope * gradient,)


gelu.defvjp(_forward, _backward)


def gelu_forward(
    code: Code, rows: Value, shape: tuple[int], x: Value, result: Value, slope: Value
) -> None:
    """`shape` is (M,)."""
    (width,) = shape

    def one_register(row: Value, number: Value) -> None:
        at = code.plus(code.times(row, width), code.times(number, code.lanes))
        x_here = code.load(x, at)
        near = code.at_most(code.constant(FARTHEST), code.magnitude(x_here))
        exponent = code.multiply(near, code.multiply(near, code.constant(-0.5 / math.log(2))))
        power = code.exp2(exponent)
        tail = code.multiply(power, code.polynomial(TAIL, near))
        other_tail = code.subtract(code.constant(1.0), tail)
        phi = code.where(">", x_here, code.constant(0.0), other_tail, tail)
        density = code.multiply(power, code.constant((2 * math.pi) ** -0.5))
        # A huge number times what is left of Phi or phi would not vanish.
        not_below = code.at_least(code.constant(-FARTHEST), x_here)
        not_beyond = code.at_most(code.constant(FARTHEST), not_below)
        code.store(code.multiply(not_below, phi), result, at)
        code.store(code.multiply_add(not_beyond, density, phi), slope, at)

    registers = width // code.lanes
    code.repeat(rows, lambda row: code.repeat(registers, lambda n: one_register(row, n)))
