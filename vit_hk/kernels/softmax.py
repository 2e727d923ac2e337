"""A softmax over keys and its gradient, as parts of a kernel.

Scores and weights are matrices [keys, padded queries]: the queries, and padding up to whole SIMD
vectors. So a softmax runs over the keys one SIMD vector of queries at a time, without a reduction
across lanes.
"""

import math
from collections.abc import Callable, Iterator

from vit_hk.kernels.vector_builder import Index, Value, VectorBuilder, pad

QUERY_TILE_VECTORS = 4  # SIMD vectors of queries that one loop over the keys computes
LOG_2 = math.log(2)
# The factor of the scores that `softmax` reads. It computes powers of 2: e^x = 2^(x / log 2).
# Scores are halved, since a large finite score times 1 / log 2 would overflow.
SCORE_FACTOR = 0.5 / LOG_2


def softmax(builder: VectorBuilder, scores: Value, num_keys: int, num_queries: int) -> None:
    """Emit the softmax over the keys, in place.

    Args:
      builder: the builder of the kernel.
      scores: the pointer to the scores times SCORE_FACTOR, [keys, padded queries].
      num_keys: the number of keys.
      num_queries: the number of queries.
    """

    def tile(first_query: Index, vectors: int) -> None:
        pointer = builder.offset_pointer(scores, first_query)
        _softmax_tile(builder, pointer, num_keys, pad(num_queries, builder.lanes), vectors)

    _for_query_tiles(builder, num_queries, tile)


def softmax_backward(
    builder: VectorBuilder,
    weights: Value,
    d_weights: Value,
    num_keys: int,
    num_queries: int,
    scale: float,
) -> None:
    """Emit the gradient of the scores, scale * p * (dp - sum over keys of p * dp), in place.

    Args:
      builder: the builder of the kernel.
      weights: the pointer to p [keys, padded queries], the softmax of scale * scores.
      d_weights: the pointer to dp [keys, padded queries], which the result overwrites.
      num_keys: the number of keys.
      num_queries: the number of queries.
      scale: the factor by which the forward pass scales the scores.
    """

    def tile(first_query: Index, vectors: int) -> None:
        p, d_p = (builder.offset_pointer(x, first_query) for x in (weights, d_weights))
        row_stride = pad(num_queries, builder.lanes)
        _softmax_backward_tile(builder, p, d_p, num_keys, row_stride, vectors, scale)

    _for_query_tiles(builder, num_queries, tile)


def _for_query_tiles(
    builder: VectorBuilder, num_queries: int, body: Callable[[Index, int], None]
) -> None:
    """Emit a loop over tiles of queries; body(first query, SIMD vectors) emits a tile."""
    builder.tiled_loop(
        pad(num_queries, builder.lanes) // builder.lanes,
        QUERY_TILE_VECTORS,
        lambda start, size: body(builder.index_mul(start, builder.lanes), size),
    )


def _softmax_tile(
    builder: VectorBuilder, scores: Value, num_keys: int, row_stride: int, vectors: int
) -> None:
    """Emit the softmax of some SIMD vectors of queries, at the pointer to the first query."""

    def update_maxima(key: Value, *maxima: Value) -> list[Value]:
        return [
            builder.maximum(max_, builder.load(scores, offset))
            for max_, offset in zip(
                maxima, _query_offsets(builder, key, row_stride, vectors), strict=True
            )
        ]

    def exponentiate(key: Value, *sums: Value) -> Iterator[Value]:
        offsets = _query_offsets(builder, key, row_stride, vectors)
        for max_, sum_, offset in zip(maxima, sums, offsets, strict=True):
            half = builder.sub(builder.load(scores, offset), max_)
            term = builder.exp2(builder.add(half, half))
            builder.store(term, scores, offset)
            yield builder.add(sum_, term)

    def normalize(key: Value) -> None:
        offsets = _query_offsets(builder, key, row_stride, vectors)
        for factor, offset in zip(factors, offsets, strict=True):
            builder.store(builder.mul(builder.load(scores, offset), factor), scores, offset)

    maxima = builder.for_loop(num_keys, update_maxima, *[builder.splat(-math.inf)] * vectors)
    maxima = [_nan_unless_finite(builder, max_) for max_ in maxima]
    sums = builder.for_loop(num_keys, exponentiate, *[builder.splat(0.0)] * vectors)
    factors = [builder.div(builder.splat(1.0), sum_) for sum_ in sums]
    builder.for_loop(num_keys, normalize)


def _nan_unless_finite(builder: VectorBuilder, maximum: Value) -> Value:
    """Return a maximum of halved scores, or NaN where the score itself is not finite.

    A softmax with such a maximum is NaN, as that of jax.nn.softmax is.
    """
    score = builder.mul(maximum, builder.splat(2 * LOG_2))
    return builder.add(maximum, builder.sub(score, score))


def _softmax_backward_tile(
    builder: VectorBuilder, weights: Value, d_weights: Value,
    num_keys: int, row_stride: int, vectors: int, scale: float,
) -> None:  # fmt: skip
    """Emit the gradient of some SIMD vectors of queries, at the pointers to the first query."""

    def accumulate(key: Value, *sums: Value) -> list[Value]:
        return [
            builder.fma(builder.load(weights, offset), builder.load(d_weights, offset), sum_)
            for sum_, offset in zip(
                sums, _query_offsets(builder, key, row_stride, vectors), strict=True
            )
        ]

    def store_gradient(key: Value) -> None:
        offsets = _query_offsets(builder, key, row_stride, vectors)
        for sum_, offset in zip(sums, offsets, strict=True):
            scaled_weight = builder.mul(builder.load(weights, offset), builder.splat(scale))
            difference = builder.sub(builder.load(d_weights, offset), sum_)
            builder.store(builder.mul(scaled_weight, difference), d_weights, offset)

    sums = builder.for_loop(num_keys, accumulate, *[builder.splat(0.0)] * vectors)
    builder.for_loop(num_keys, store_gradient)


def _query_offsets(
    builder: VectorBuilder, key: Index, row_stride: int, vectors: int
) -> list[Index]:
    """Return the offsets of a tile's SIMD vectors in row `key` of [keys, padded queries]."""
    row = builder.index_mul(key, row_stride)
    return [builder.index_add(row, n * builder.lanes) for n in range(vectors)]
