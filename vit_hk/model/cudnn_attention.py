"""Attention in cuDNN's kernels for NVIDIA GPUs, which store no weights (arXiv 2205.14135)."""

from typing import Any, Literal

import jax
import jax.numpy as jnp

MAX_HEAD_SIZE = 128  # what all GPUs since Ampere support; see jax.nn.dot_product_attention
AMPERE = 8  # the major compute capability


def has_cudnn_attention(dtype: Any, head_size: int) -> bool:
    """Return whether cuDNN's attention supports these heads: bfloat16 on a GPU since Ampere."""
    if dtype != jnp.bfloat16 or head_size % 8 or head_size > MAX_HEAD_SIZE:
        return False
    if jax.default_backend() != "gpu":
        return False
    device = jax.local_devices()[0]
    is_cuda = "cuda" in device.client.platform_version  # and not AMD's ROCm
    return is_cuda and int(device.compute_capability.partition(".")[0]) >= AMPERE


def cudnn_attention(
    qkv: jax.Array,
    num_tokens: int,
    num_heads: int,
    implementation: Literal["cudnn", "xla"] = "cudnn",
) -> jax.Array:
    """Return softmax(q k^T / sqrt(K)) v for each image and head.

    Args:
      qkv: bfloat16 [B * T, 3 H K]; a row holds the queries of all heads of a token, then the keys,
        then the values.
      num_tokens: T.
      num_heads: H. K is a multiple of 8.
      implementation: "xla" computes the same without cuDNN, on any device.

    Returns:
      The weighted sums of values, heads concatenated, [B * T, H K].
    """
    rows, qkv_width = qkv.shape
    tokens = qkv.reshape(-1, num_tokens, qkv_width)
    lengths = None
    # JAX computes no gradient of an odd number, so a token is added that none attends to.
    if num_tokens % 2:
        tokens = jnp.pad(tokens, [(0, 0), (0, 1), (0, 0)])
        lengths = jnp.full(len(tokens), num_tokens, jnp.int32)
    q, k, v = (
        part.reshape(*part.shape[:2], num_heads, -1)  # [B, T or T + 1, H, K]
        for part in jnp.split(tokens, 3, axis=-1)
    )
    heads = jax.nn.dot_product_attention(
        q, k, v, query_seq_lengths=lengths, key_value_seq_lengths=lengths,
        implementation=implementation,
    )  # fmt: skip
    return heads[:, :num_tokens].reshape(rows, qkv_width // 3)
