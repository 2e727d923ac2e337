"""Attention of all tokens of an image to each other (arXiv 1706.03762, equation 1).

Scores and weights are kept transposed, [key T, query], so that the softmax goes over keys register
by register, and has nothing to add up within one. Queries are padded to whole registers: their
number is called S.
"""

import functools
import math
from collections.abc import Callable, Iterator

import jax

from vit_hk.kernels.code import Code, Index, Value
from vit_hk.kernels.compiler import processor, run
from vit_hk.kernels.products import Matrix, multiply
from vit_hk.kernels.transpose import transpose

AT_A_TIME = 4  # registers of queries that a loop over the keys takes along
LOWEST = -3e38


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def attend(qkv: jax.Array, tokens: int, num_heads: int) -> jax.Array:
    """softmax(q k^T / sqrt(K)) v for each image and head.

    Args:
      qkv: float32 [B * T, 3 H K], of each token the queries of all heads, then keys, then values.
      tokens: T.
      num_heads: H. K is a multiple of `processor().lanes`.

    Returns:
      The mixtures of values, heads side by side, [B * T, H K].
    """
    return _forward(qkv, tokens, num_heads)[0]


_Kept = tuple[jax.Array, jax.Array]


def _forward(qkv: jax.Array, tokens: int, num_heads: int) -> tuple[jax.Array, _Kept]:
    rows, three_widths = qkv.shape
    width = three_widths // 3
    size, padded = width // num_heads, _padded(tokens, processor().lanes)
    weights = rows // tokens, num_heads, tokens, padded
    results = [(rows, width), weights, (size, padded)]
    mixed, p, _ = run(attention_forward, (tokens, num_heads, size), [qkv], results)
    return mixed, (qkv, p)


def _backward(tokens: int, num_heads: int, kept: _Kept, gradient: jax.Array) -> tuple[jax.Array]:
    qkv, _ = kept
    size, padded = gradient.shape[1] // num_heads, _padded(tokens, processor().lanes)
    results = [qkv.shape, (tokens, padded), (size, padded)]
    sizes = tokens, num_heads, size
    return (run(attention_backward, sizes, [*kept, gradient], results)[0],)


attend.defvjp(_forward, _backward)


def _padded(tokens: int, lanes: int) -> int:
    """S."""
    return -(-tokens // lanes) * lanes


def attention_forward(
    code: Code, rows: Value, shape: tuple[int, int, int],
    qkv: Value, mixed: Value, weights: Value, q_transposed: Value,
) -> None:  # fmt: skip
    """From qkv [B * T, 3 H K] mixed [B * T, H K] and weights [B, H, T, S].

    `shape` is (T, H, K). Works with q_transposed [K, S].
    """
    tokens, num_heads, size = shape
    width, padded = num_heads * size, _padded(tokens, code.lanes)

    def one_head(image: Value, head: Value) -> None:
        first = _first(code, image, head, shape, 3 * width)
        q, k, v = (
            Matrix(code.at(qkv, code.plus(first, part)), 3 * width) for part in _parts(width)
        )
        out = Matrix(code.at(mixed, _first(code, image, head, shape, width)), width)
        p = _weights_of_head(code, weights, image, head, shape)
        # The softmax takes powers of 2.
        q_t = Matrix(q_transposed, padded)
        transpose(code, q, q_t, tokens, size, size**-0.5 / math.log(2))
        multiply(code, k, q_t, Matrix(p, padded), tokens, size, padded)
        for queries in _some_queries(code, tokens):
            _softmax(code, p, tokens, queries)
        multiply(code, Matrix(p, 1, padded), v, out, tokens, tokens, size)

    _each_head(code, rows, tokens, num_heads, one_head)


def attention_backward(
    code: Code, rows: Value, shape: tuple[int, int, int],
    qkv: Value, weights: Value, gradient: Value,
    d_qkv: Value, d_weights: Value, gradient_transposed: Value,
) -> None:  # fmt: skip
    """From what the forward pass had and gave, and the gradient [B * T, H K], d_qkv [B * T, 3 H K].

    `shape` is (T, H, K). Works with d_weights [T, S] and gradient_transposed [K, S].
    """
    tokens, num_heads, size = shape
    width, padded = num_heads * size, _padded(tokens, code.lanes)

    def one_head(image: Value, head: Value) -> None:
        first = _first(code, image, head, shape, 3 * width)
        (q, k, v), (d_q, d_k, d_v) = (
            [Matrix(code.at(array, code.plus(first, part)), 3 * width) for part in _parts(width)]
            for array in (qkv, d_qkv)
        )
        g = Matrix(code.at(gradient, _first(code, image, head, shape, width)), width)
        p = _weights_of_head(code, weights, image, head, shape)
        g_t = Matrix(gradient_transposed, padded)
        transpose(code, g, g_t, tokens, size)
        d_p = Matrix(d_weights, padded)
        multiply(code, v, g_t, d_p, tokens, size, padded)
        multiply(code, Matrix(p, padded), g, d_v, tokens, tokens, size)
        for queries in _some_queries(code, tokens):
            _softmax_backward(code, p, d_weights, tokens, size**-0.5, queries)
        multiply(code, Matrix(d_weights, 1, padded), k, d_q, tokens, tokens, size)
        multiply(code, Matrix(d_weights, padded), q, d_k, tokens, tokens, size)

    _each_head(code, rows, tokens, num_heads, one_head)


def _each_head(
    code: Code, rows: Value, tokens: int, num_heads: int, write: Callable[[Value, Value], None]
) -> None:
    """Of each image."""
    images, _ = code.divide_index(rows, tokens)
    code.repeat(images, lambda image: code.repeat(num_heads, lambda head: write(image, head)))


def _parts(width: int) -> range:
    """Where q, k and v start in a row."""
    return range(0, 3 * width, width)


def _first(code: Code, image: Value, head: Value, shape: tuple[int, int, int], row: int) -> Index:
    """Where the first number of an image and head stands, with rows of so many numbers."""
    tokens, _, size = shape
    return code.plus(code.times(image, tokens * row), code.times(head, size))


def _weights_of_head(
    code: Code, weights: Value, image: Value, head: Value, shape: tuple[int, int, int]
) -> Value:
    """[T, S]."""
    tokens, num_heads, _ = shape
    number = code.plus(code.times(image, num_heads), head)
    return code.at(weights, code.times(number, tokens * _padded(tokens, code.lanes)))


def _softmax(code: Code, scores: Value, tokens: int, queries: range) -> None:
    """Of scores [T, S], over T, in their place, with powers of 2; for these queries."""

    def larger(key: Value, *highest: Value) -> list[Value]:
        return [
            code.at_least(h, code.load(scores, at))
            for h, at in zip(highest, _places(code, key, tokens, queries), strict=True)
        ]

    def power(key: Value, *sums: Value) -> Iterator[Value]:
        places = _places(code, key, tokens, queries)
        for h, sum_, at in zip(highest, sums, places, strict=True):
            term = code.exp2(code.subtract(code.load(scores, at), h))
            code.store(term, scores, at)
            yield code.add(sum_, term)

    def share(key: Value) -> None:
        places = _places(code, key, tokens, queries)
        for factor, at in zip(factors, places, strict=True):
            code.store(code.multiply(code.load(scores, at), factor), scores, at)

    highest = code.repeat(tokens, larger, *[code.constant(LOWEST) for _ in queries])
    sums = code.repeat(tokens, power, *[code.constant(0.0) for _ in queries])
    factors = [code.divide(code.constant(1.0), sum_) for sum_ in sums]
    code.repeat(tokens, share)


def _softmax_backward(
    code: Code, weights: Value, gradient: Value, tokens: int, factor: float, queries: range
) -> None:
    """From the gradient of weights [T, S] that of the scores, times a factor, in its place."""

    def weigh(key: Value, *means: Value) -> list[Value]:
        return [
            code.multiply_add(code.load(weights, at), code.load(gradient, at), mean)
            for mean, at in zip(means, _places(code, key, tokens, queries), strict=True)
        ]

    def slope(key: Value) -> None:
        for mean, at in zip(means, _places(code, key, tokens, queries), strict=True):
            weight = code.multiply(code.load(weights, at), code.constant(factor))
            difference = code.subtract(code.load(gradient, at), mean)
            code.store(code.multiply(weight, difference), gradient, at)

    means = code.repeat(tokens, weigh, *[code.constant(0.0) for _ in queries])
    code.repeat(tokens, slope)


def _some_queries(code: Code, tokens: int) -> Iterator[range]:
    """The first of each register, of as many registers as a loop over the keys takes along."""
    padded, step = _padded(tokens, code.lanes), AT_A_TIME * code.lanes
    for first in range(0, padded, step):
        yield range(first, min(padded, first + step), code.lanes)


def _places(code: Code, key: Index, tokens: int, queries: range) -> list[Index]:
    """Where the queries' registers stand in [T, S]."""
    return [code.plus(code.times(key, _padded(tokens, code.lanes)), query) for query in queries]
