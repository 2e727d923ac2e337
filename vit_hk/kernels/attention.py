"""Scaled dot-product attention (arXiv 1706.03762, equation 1), as a kernel.

Scores and weights are stored transposed, [key T, padded queries], as `softmax.py` reads them; K is
the size of a head.
"""

import functools
from collections.abc import Callable

import jax

from vit_hk.kernels.compiler import call_kernel, simd_target
from vit_hk.kernels.matmul import Matrix, matmul
from vit_hk.kernels.softmax import SCORE_FACTOR, softmax, softmax_backward
from vit_hk.kernels.transpose import transpose
from vit_hk.kernels.vector_builder import Value, VectorBuilder, pad


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def attend(qkv: jax.Array, num_tokens: int, num_heads: int) -> jax.Array:
    """Return softmax(q k^T / sqrt(K)) v for each image and head.

    Args:
      qkv: float32 [B * T, 3 H K]; a row holds the queries of all heads of a token, then the keys,
        then the values.
      num_tokens: T.
      num_heads: H.

    Returns:
      The weighted sums of values, heads concatenated, float32 [B * T, H K].
    """
    return _forward(qkv, num_tokens, num_heads)[0]


_Residuals = tuple[jax.Array, jax.Array]


def _forward(qkv: jax.Array, num_tokens: int, num_heads: int) -> tuple[jax.Array, _Residuals]:
    rows, qkv_width = qkv.shape
    width = qkv_width // 3
    head_size, padded_queries = width // num_heads, pad(num_tokens, simd_target().lanes)
    weights_shape = rows // num_tokens, num_heads, num_tokens, padded_queries
    shapes = [(rows, width), weights_shape, (head_size, padded_queries)]
    sizes = num_tokens, num_heads, head_size
    out, weights, _ = call_kernel(attention_forward, sizes, [qkv], shapes)
    return out, (qkv, weights)


def _backward(
    num_tokens: int, num_heads: int, residuals: _Residuals, d_out: jax.Array
) -> tuple[jax.Array]:
    qkv, _ = residuals
    head_size = d_out.shape[1] // num_heads
    padded_queries = pad(num_tokens, simd_target().lanes)
    shapes = [qkv.shape, (num_tokens, padded_queries), (head_size, padded_queries)]
    sizes = num_tokens, num_heads, head_size
    d_qkv, _, _ = call_kernel(attention_backward, sizes, [*residuals, d_out], shapes)
    return (d_qkv,)


attend.defvjp(_forward, _backward)


def attention_forward(
    builder: VectorBuilder, rows: Value, sizes: tuple[int, int, int],
    qkv: Value, out: Value, weights: Value, q_transposed: Value,
) -> None:  # fmt: skip
    """Emit the forward kernel of attention.

    Args:
      builder: the builder of the kernel.
      rows: B * T.
      sizes: (T, H, K).
      qkv: [B * T, 3 H K].
      out: [B * T, H K], is written.
      weights: [B, H, key T, padded queries], is written.
      q_transposed: [K, padded queries], scratch memory.
    """
    num_tokens, num_heads, head_size = sizes
    width, padded_queries = num_heads * head_size, pad(num_tokens, builder.lanes)

    def one_head(image: Value, head: Value) -> None:
        q, k, v = _queries_keys_values(builder, qkv, image, head, sizes)
        out_matrix = _head_block(builder, out, width, image, head, sizes)
        p = _head_weights(builder, weights, image, head, sizes)
        q_t = Matrix(q_transposed, padded_queries)
        transpose(builder, q, q_t, num_tokens, head_size, head_size**-0.5 * SCORE_FACTOR)
        scores = Matrix(p, padded_queries)
        matmul(builder, k, q_t, scores, num_tokens, head_size, padded_queries)
        softmax(builder, p, num_tokens, num_tokens)
        matmul(builder, scores.transposed(), v, out_matrix, num_tokens, num_tokens, head_size)

    _for_each_head(builder, rows, num_tokens, num_heads, one_head)


def attention_backward(
    builder: VectorBuilder, rows: Value, sizes: tuple[int, int, int],
    qkv: Value, weights: Value, d_out: Value,
    d_qkv: Value, d_weights: Value, d_out_transposed: Value,
) -> None:  # fmt: skip
    """Emit the backward kernel of attention.

    Args:
      builder: the builder of the kernel.
      rows: B * T.
      sizes: (T, H, K).
      qkv: [B * T, 3 H K].
      weights: [B, H, key T, padded queries], of the forward kernel.
      d_out: [B * T, H K].
      d_qkv: [B * T, 3 H K], is written.
      d_weights: [key T, padded queries], scratch memory.
      d_out_transposed: [K, padded queries], scratch memory.
    """
    num_tokens, num_heads, head_size = sizes
    width, padded_queries = num_heads * head_size, pad(num_tokens, builder.lanes)

    def one_head(image: Value, head: Value) -> None:
        q, k, v = _queries_keys_values(builder, qkv, image, head, sizes)
        d_q, d_k, d_v = _queries_keys_values(builder, d_qkv, image, head, sizes)
        d_out_matrix = _head_block(builder, d_out, width, image, head, sizes)
        p = _head_weights(builder, weights, image, head, sizes)
        d_out_t = Matrix(d_out_transposed, padded_queries)
        transpose(builder, d_out_matrix, d_out_t, num_tokens, head_size)
        d_p = Matrix(d_weights, padded_queries)
        matmul(builder, v, d_out_t, d_p, num_tokens, head_size, padded_queries)
        p_matrix = Matrix(p, padded_queries)
        matmul(builder, p_matrix, d_out_matrix, d_v, num_tokens, num_tokens, head_size)
        softmax_backward(builder, p, d_weights, num_tokens, num_tokens, head_size**-0.5)
        d_scores = Matrix(d_weights, padded_queries)
        matmul(builder, d_scores.transposed(), k, d_q, num_tokens, num_tokens, head_size)
        matmul(builder, d_scores, q, d_k, num_tokens, num_tokens, head_size)

    _for_each_head(builder, rows, num_tokens, num_heads, one_head)


def _for_each_head(
    builder: VectorBuilder,
    rows: Value,
    num_tokens: int,
    num_heads: int,
    body: Callable[[Value, Value], None],
) -> None:
    """Emit loops over the images and their heads; body(image, head) emits an iteration."""
    images, _ = builder.index_divmod(rows, num_tokens)
    builder.for_loop(
        images, lambda image: builder.for_loop(num_heads, lambda head: body(image, head))
    )


def _head_block(
    builder: VectorBuilder, array: Value, row_stride: int,
    image: Value, head: Value, sizes: tuple[int, int, int], first: int = 0,
) -> Matrix:  # fmt: skip
    """Return the block [T, K] of an image's head, after the first columns of [B * T, …]."""
    num_tokens, _, head_size = sizes
    row = builder.index_mul(image, num_tokens)
    column = builder.index_add(builder.index_mul(head, head_size), first)
    return Matrix(array, row_stride).block(builder, row, column)


def _queries_keys_values(
    builder: VectorBuilder, qkv: Value, image: Value, head: Value, sizes: tuple[int, int, int]
) -> list[Matrix]:
    """Return the queries, keys and values of an image's head, each [T, K], in [B * T, 3 H K]."""
    _, num_heads, head_size = sizes
    width = num_heads * head_size
    return [
        _head_block(builder, qkv, 3 * width, image, head, sizes, first)
        for first in (0, width, 2 * width)
    ]


def _head_weights(
    builder: VectorBuilder, weights: Value, image: Value, head: Value, sizes: tuple[int, int, int]
) -> Value:
    """Return the pointer to the weights [key T, padded queries] of an image's head."""
    num_tokens, num_heads, _ = sizes
    index = builder.index_add(builder.index_mul(image, num_heads), head)
    head_stride = num_tokens * pad(num_tokens, builder.lanes)
    return builder.offset_pointer(weights, builder.index_mul(index, head_stride))
