"""Attention of the class token to all tokens, as a kernel.

Keys and values are never computed; `vit_hk/model/class_token_attention.py` says why they need not
be. The query of a head, multiplied by the head's weights of keys, is a query [D] for the tokens
themselves, here the projected query; the weighted sum of the tokens [D], here the pooled tokens,
multiplied by its weights of values is the output of the head. K is the size of a head.
"""

import functools

import jax

from vit_hk.kernels.compiler import call_kernel, simd_target
from vit_hk.kernels.matmul import Epilogue, Matrix, matmul, panel_width
from vit_hk.kernels.matmul_nt import matmul_nt
from vit_hk.kernels.softmax import SCORE_FACTOR, softmax, softmax_backward
from vit_hk.kernels.sum_rows import sum_rows
from vit_hk.kernels.transpose import transpose
from vit_hk.kernels.vector_builder import Value, VectorBuilder, pad


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def attend_from_class_token(
    x: jax.Array, w: jax.Array, b: jax.Array, num_tokens: int, num_heads: int
) -> jax.Array:
    """Return the attention output of the first token of each image.

    Args:
      x: float32 [B * T, D], the tokens.
      w: float32 [D, 3D], the weights of queries, keys and values.
      b: float32 [3D], their biases; the bias of the keys has no influence.
      num_tokens: T.
      num_heads: H.

    Returns:
      The weighted sums of values, heads concatenated, float32 [B, D].
    """
    return _forward(x, w, b, num_tokens, num_heads)[0]


_Residuals = tuple[jax.Array, ...]


def _forward(
    x: jax.Array, w: jax.Array, b: jax.Array, num_tokens: int, num_heads: int
) -> tuple[jax.Array, _Residuals]:
    images, width = len(x) // num_tokens, x.shape[1]
    padded_heads = pad(num_heads, simd_target().lanes)
    of_heads = images, num_heads, width
    shapes = [
        (images, width), (images, width), of_heads, (images, num_tokens, padded_heads), of_heads,
        (width // num_heads, panel_width(width, *simd_target())), (width, padded_heads),
    ]  # fmt: skip
    sizes = num_tokens, num_heads, width // num_heads
    out, queries, projected, weights, pooled, _, _ = call_kernel(
        class_token_attention_forward, sizes, [x, w, b], shapes
    )
    return out, (x, w, queries, projected, weights, pooled)


def _backward(
    num_tokens: int, num_heads: int, residuals: _Residuals, d_out: jax.Array
) -> tuple[jax.Array, ...]:
    x, w, _, projected, weights, _ = residuals
    padded_heads, width = weights.shape[2], x.shape[1]
    shapes = [
        x.shape, w.shape, w.shape[1:],
        d_out.shape, projected.shape, projected.shape, weights.shape[1:],
        (width, panel_width(width, *simd_target())), (width, padded_heads),
    ]  # fmt: skip
    sizes = num_tokens, num_heads, width // num_heads
    operands = [*residuals, d_out]
    d_x, d_w, d_b, *_ = call_kernel(class_token_attention_backward, sizes, operands, shapes)
    return d_x, d_w, d_b


attend_from_class_token.defvjp(_forward, _backward)


def class_token_attention_forward(
    builder: VectorBuilder, rows: Value, sizes: tuple[int, int, int],
    x: Value, w: Value, b: Value,
    out: Value, queries: Value, projected: Value, weights: Value, pooled: Value,
    panel: Value, projected_transposed: Value,
) -> None:  # fmt: skip
    """Emit the forward kernel of the class token's attention.

    Args:
      builder: the builder of the kernel.
      rows: B * T.
      sizes: (T, H, K).
      x: [B * T, D].
      w: [D, 3D].
      b: [3D].
      out: [B, D], is written.
      queries: [B, D], is written.
      projected: [B, H, D], the projected queries, is written.
      weights: [B, T, padded heads], is written.
      pooled: [B, H, D], the pooled tokens, is written.
      panel: [K, panel width of D], scratch memory.
      projected_transposed: [D, padded heads], scratch memory.
    """
    num_tokens, num_heads, head_size = sizes
    width, padded_heads = num_heads * head_size, pad(num_heads, builder.lanes)
    images, _ = builder.index_divmod(rows, num_tokens)
    w_q = Matrix(w, 3 * width)
    first_tokens = Matrix(x, num_tokens * width)
    matmul(builder, first_tokens, w_q, Matrix(queries, width), images, width, width, b)

    def project_query(head: Value) -> None:
        query = _columns(builder, queries, width, head, head_size)
        w_k = _columns(builder, w, 3 * width, head, head_size, width)
        out_matrix = _columns(builder, projected, num_heads * width, head, width)
        matmul_nt(builder, query, w_k, out_matrix, images, head_size, width, panel)

    def pool_tokens(image: Value) -> None:
        tokens = _rows(builder, x, width, image, num_tokens)
        scores = _rows(builder, weights, padded_heads, image, num_tokens)
        projected_matrix = _rows(builder, projected, width, image, num_heads)
        projected_t = Matrix(projected_transposed, padded_heads)
        factor = head_size**-0.5 * SCORE_FACTOR
        transpose(builder, projected_matrix, projected_t, num_heads, width, factor)
        matmul(builder, tokens, projected_t, scores, num_tokens, width, padded_heads)
        softmax(builder, scores.pointer, num_tokens, num_heads)
        weights_t = scores.transposed()
        pooled_matrix = _rows(builder, pooled, width, image, num_heads)
        matmul(builder, weights_t, tokens, pooled_matrix, num_heads, num_tokens, width)

    def output(head: Value) -> None:
        pooled_matrix = _columns(builder, pooled, num_heads * width, head, width)
        w_v = _columns(builder, w, 3 * width, head, head_size, 2 * width)
        out_matrix = _columns(builder, out, width, head, head_size)
        first = builder.index_add(builder.index_mul(head, head_size), 2 * width)
        b_v = builder.offset_pointer(b, first)
        matmul(builder, pooled_matrix, w_v, out_matrix, images, width, head_size, b_v)

    builder.for_loop(num_heads, project_query)
    builder.for_loop(images, pool_tokens)
    builder.for_loop(num_heads, output)


def class_token_attention_backward(
    builder: VectorBuilder, rows: Value, sizes: tuple[int, int, int],
    x: Value, w: Value, queries: Value, projected: Value, weights: Value, pooled: Value,
    d_out: Value,
    d_x: Value, d_w: Value, d_b: Value,
    d_queries: Value, d_projected: Value, d_pooled: Value, d_weights: Value,
    panel: Value, transposed: Value,
) -> None:  # fmt: skip
    """Emit the backward kernel of the class token's attention.

    Args:
      builder: the builder of the kernel.
      rows: B * T.
      sizes: (T, H, K).
      x: [B * T, D].
      w: [D, 3D].
      queries: [B, D], of the forward kernel, as are the next three.
      projected: [B, H, D].
      weights: [B, T, padded heads].
      pooled: [B, H, D].
      d_out: [B, D].
      d_x: [B * T, D], is written.
      d_w: [D, 3D], is written.
      d_b: [3D], is written.
      d_queries: [B, D], scratch memory, as are the next three.
      d_projected: [B, H, D].
      d_pooled: [B, H, D].
      d_weights: [T, padded heads].
      panel: [D, panel width of D], scratch memory.
      transposed: [D, padded heads], scratch memory.
    """
    num_tokens, num_heads, head_size = sizes
    width, padded_heads = num_heads * head_size, pad(num_heads, builder.lanes)
    images, _ = builder.index_divmod(rows, num_tokens)

    def output_backward(head: Value) -> None:
        d_out_matrix = _columns(builder, d_out, width, head, head_size)
        pooled_matrix = _columns(builder, pooled, num_heads * width, head, width)
        d_w_v = _columns(builder, d_w, 3 * width, head, head_size, 2 * width)
        pooled_t = pooled_matrix.transposed()
        matmul(builder, pooled_t, d_out_matrix, d_w_v, width, images, head_size)
        w_v = _columns(builder, w, 3 * width, head, head_size, 2 * width)
        d_pooled_matrix = _columns(builder, d_pooled, num_heads * width, head, width)
        matmul_nt(builder, d_out_matrix, w_v, d_pooled_matrix, images, head_size, width, panel)

    def pool_tokens_backward(image: Value) -> None:
        tokens, d_tokens = (_rows(builder, array, width, image, num_tokens) for array in (x, d_x))
        p = _rows(builder, weights, padded_heads, image, num_tokens)
        projected_matrix, d_projected_matrix, d_pooled_matrix = (
            _rows(builder, array, width, image, num_heads)
            for array in (projected, d_projected, d_pooled)
        )
        d_pooled_t = Matrix(transposed, padded_heads)
        transpose(builder, d_pooled_matrix, d_pooled_t, num_heads, width)
        d_p = Matrix(d_weights, padded_heads)
        matmul(builder, tokens, d_pooled_t, d_p, num_tokens, width, padded_heads)
        softmax_backward(builder, p.pointer, d_weights, num_tokens, num_heads, head_size**-0.5)
        d_scores = Matrix(d_weights, padded_heads)
        d_scores_t = d_scores.transposed()
        matmul(builder, d_scores_t, tokens, d_projected_matrix, num_heads, num_tokens, width)
        matmul(builder, p, d_pooled_matrix, d_tokens, num_tokens, num_heads, width)
        add = Epilogue(builder.add, d_tokens)
        shape = num_tokens, num_heads, width
        matmul(builder, d_scores, projected_matrix, d_tokens, *shape, epilogue=add)

    def project_query_backward(head: Value) -> None:
        query = _columns(builder, queries, width, head, head_size)
        d_query = _columns(builder, d_queries, width, head, head_size)
        d_projected_matrix = _columns(builder, d_projected, num_heads * width, head, width)
        w_k = _columns(builder, w, 3 * width, head, head_size, width)
        d_w_k = _columns(builder, d_w, 3 * width, head, head_size, width)
        matmul(builder, d_projected_matrix, w_k, d_query, images, width, head_size)
        d_projected_t = d_projected_matrix.transposed()
        matmul(builder, d_projected_t, query, d_w_k, width, images, head_size)

    builder.for_loop(num_heads, output_backward)
    builder.for_loop(images, pool_tokens_backward)
    builder.for_loop(num_heads, project_query_backward)
    d_queries_matrix, d_out_matrix = Matrix(d_queries, width), Matrix(d_out, width)
    first_tokens, d_first_tokens = (Matrix(array, num_tokens * width) for array in (x, d_x))
    w_q, d_w_q = Matrix(w, 3 * width), Matrix(d_w, 3 * width)
    first_tokens_t = first_tokens.transposed()
    matmul(builder, first_tokens_t, d_queries_matrix, d_w_q, width, images, width)
    add = Epilogue(builder.add, d_first_tokens)
    matmul_nt(builder, d_queries_matrix, w_q, d_first_tokens, images, width, width, panel, add)
    d_b_q, d_b_k, d_b_v = (builder.offset_pointer(d_b, part * width) for part in range(3))
    sum_rows(builder, d_queries_matrix, images, width, d_b_q)
    sum_rows(builder, d_out_matrix, 0, width, d_b_k)  # zeros: it has no influence
    sum_rows(builder, d_out_matrix, images, width, d_b_v)


def _columns(
    builder: VectorBuilder, array: Value, row_stride: int, head: Value, size: int, first: int = 0
) -> Matrix:
    """Return the `size` columns of a head, after the first columns, of [rows, row_stride]."""
    column = builder.index_add(builder.index_mul(head, size), first)
    return Matrix(array, row_stride).block(builder, column=column)


def _rows(
    builder: VectorBuilder, array: Value, row_stride: int, image: Value, count: int
) -> Matrix:
    """Return the `count` rows of an image in an array [B * count, row_stride]."""
    return Matrix(array, row_stride).block(builder, builder.index_mul(image, count))
