"""Multi-head self-attention that returns its weights (arXiv 2010.11929, appendix A)."""

import dataclasses
from collections.abc import Callable

import haiku as hk
import jax
import jax.numpy as jnp

from vit_hk.kernels.attention import attend
from vit_hk.kernels.compiler import is_supported
from vit_hk.model.class_token_attention import ClassTokenAttention
from vit_hk.model.cudnn_attention import cudnn_attention, has_cudnn_attention
from vit_hk.model.layer_norm import layer_norm
from vit_hk.model.linear import Linear
from vit_hk.model.matmul import matmul, matmul_nt, swap_tokens_and_heads


@dataclasses.dataclass
class PlainAttention:
    """Attention in jax.numpy, on any device and in any precision."""

    q: jax.Array  # [B, H, query T, K], scaled by 1 / sqrt(K)
    k: jax.Array  # [B, H, key T, K]
    v: jax.Array  # [B, H, key T, K]

    def scores(self) -> jax.Array:
        """Return the scores before the softmax, [B, H, query T, key T]."""
        return matmul_nt(self.q, self.k)

    def weighted_values(self, weights: jax.Array) -> jax.Array:
        """Return the weighted sums of the values, heads concatenated: [B * query T, D].

        Args:
          weights: [B, H, query T, key T].
        """
        heads = swap_tokens_and_heads(matmul(weights, self.v))  # [B, query T, H, K]
        return heads.reshape(-1, heads.shape[2] * heads.shape[3])


@dataclasses.dataclass
class FusedAttention(PlainAttention):
    """Attention in one kernel; XLA computes the plain weights only where the caller reads them."""

    qkv: jax.Array  # [B * T, 3D]
    kernel: Callable[[jax.Array, int, int], jax.Array]  # `attend`, or that of cuDNN

    def weighted_values(self, weights: jax.Array) -> jax.Array:
        """Return the weighted sums of the values, [B * T, D]; the kernel computes the weights."""
        _, num_heads, num_tokens, _ = weights.shape
        return self.kernel(self.qkv, num_tokens, num_heads)


@dataclasses.dataclass
class SelfAttention(hk.Module):
    """The module softmax(q k^T / sqrt(K)) v of each head, then concatenation and a linear layer.

    With `qk_norm`, queries and keys pass a LayerNorm over K first (arXiv 2302.05442).
    """

    num_heads: int
    norm_eps: float
    qk_norm: bool = False
    name: str | None = None

    def __call__(
        self,
        x: jax.Array,
        num_tokens: int,
        offset: jax.Array | None = None,
        class_token_only: bool = False,
    ) -> tuple[jax.Array, jax.Array]:
        """Return the attention output and weights.

        Args:
          x: [B * T, D], the tokens of all images, one image after the other.
          num_tokens: T.
          offset: [B, H, T, T], added to the attention weights; see `ViT`.
          class_token_only: return the output of the first token of each image only.

        Returns:
          The output [B * T, D], or with `class_token_only` [B, D], and the weights
          [B, H, query T, key T] of all queries in both cases.
        """
        width = x.shape[-1]
        # Glorot-uniform for each of the D x D matrices q, k and v, not for D x 3D.
        glorot = hk.initializers.RandomUniform(-((3 / width) ** 0.5), (3 / width) ** 0.5)
        qkv_layer = Linear(3 * width, w_init=glorot, name="qkv")
        # With ClassTokenAttention, XLA removes this product unless all weights are read.
        qkv = qkv_layer(x)
        if self.qk_norm:
            qkv = self._normalize_queries_and_keys(qkv)
        plain = PlainAttention(*self._queries_keys_values(qkv, num_tokens))
        attention = self._choose_attention(
            plain, x, qkv, qkv_layer, offset is not None, class_token_only
        )
        weights = all_weights = _softmax(attention.scores())  # [B, H, 1 or T, T]
        if class_token_only:
            # XLA computes the weights of the other queries only where the caller reads them.
            others = _softmax(matmul_nt(plain.q[:, :, 1:], plain.k))
            all_weights = jnp.concatenate([weights, others], axis=2)
        if offset is not None:
            all_weights = all_weights + offset
            weights = all_weights[:, :, : weights.shape[2]]
        heads = attention.weighted_values(weights.astype(x.dtype))
        return Linear(width, w_init=glorot, name="out")(heads), all_weights

    @hk.transparent
    def _normalize_queries_and_keys(self, qkv: jax.Array) -> jax.Array:
        """Apply a LayerNorm over K to the queries and another one to the keys of [B * T, 3D]."""
        rows, width = qkv.shape
        heads = qkv.reshape(rows, 3, self.num_heads, width // (3 * self.num_heads))
        q, k, v = heads[:, 0], heads[:, 1], heads[:, 2]  # each [B * T, H, K]
        q, k = (
            layer_norm(x, self.norm_eps, name).astype(v.dtype)
            for x, name in [(q, "q_norm"), (k, "k_norm")]
        )
        return jnp.stack([q, k, v], axis=1).reshape(rows, width)

    @hk.transparent
    def _queries_keys_values(self, qkv: jax.Array, num_tokens: int) -> list[jax.Array]:
        """Split [B * T, 3D] into queries, scaled by 1 / sqrt(K), keys and values [B, H, T, K]."""
        size = qkv.shape[-1] // (3 * self.num_heads)
        q, k, v = (
            swap_tokens_and_heads(part.reshape(-1, num_tokens, self.num_heads, size))
            for part in jnp.split(qkv, 3, axis=-1)
        )
        return [q * size**-0.5, k, v]

    @hk.transparent
    def _choose_attention(
        self,
        plain: PlainAttention,
        x: jax.Array,
        qkv: jax.Array,
        qkv_layer: Linear,
        has_offset: bool,
        class_token_only: bool,
    ) -> PlainAttention | ClassTokenAttention:
        """Return the fastest implementation that supports the arguments.

        Args:
          plain: queries, keys and values of all tokens.
          x: [B * T, D].
          qkv: [B * T, 3D], the queries, keys and values of all tokens.
          qkv_layer: the linear layer of queries, keys and values.
          has_offset: whether an offset is added to the weights, which no kernel supports.
          class_token_only: whether the only query is the first token of each image.
        """
        _, _, num_tokens, head_size = plain.k.shape
        if class_token_only and self.qk_norm:
            return PlainAttention(plain.q[:, :, :1], plain.k, plain.v)
        if class_token_only:
            width = x.shape[-1]
            w, b = qkv_layer.parameters(width, x.dtype)
            return ClassTokenAttention(x.reshape(-1, num_tokens, width), w, b, self.num_heads)
        if has_offset:
            return plain
        if is_supported(x):
            return FusedAttention(plain.q, plain.k, plain.v, qkv, attend)
        if has_cudnn_attention(x.dtype, head_size):
            return FusedAttention(plain.q, plain.k, plain.v, qkv, cudnn_attention)
        return plain


def _softmax(scores: jax.Array) -> jax.Array:
    """Return the softmax over the keys, in float32 where the scores have a lower precision."""
    return jax.nn.softmax(scores.astype(jnp.promote_types(scores.dtype, jnp.float32)), axis=-1)
