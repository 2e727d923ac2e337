"""Multi-head self-attention that returns its weights (arXiv 2010.11929, appendix A)."""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import haiku as hk
import jax
import jax.numpy as jnp

from vit_hk.kernels.attention import attend
from vit_hk.kernels.class_token_attention import attend_from_class_token
from vit_hk.kernels.compiler import is_supported
from vit_hk.model.class_token_attention import ClassTokenAttention
from vit_hk.model.cudnn_attention import cudnn_attention, has_cudnn_attention
from vit_hk.model.layer_norm import layer_norm
from vit_hk.model.linear import Linear
from vit_hk.model.matmul import matmul, matmul_nt, swap_tokens_and_heads


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
        attention_offset: jax.Array | None = None,
        class_token_only: bool = False,
        residual: jax.Array | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """Return the attention output plus the residual, and the weights.

        Args:
          x: [B * T, D], the tokens of all images, one image after the other.
          num_tokens: T.
          attention_offset: [B, H, T, T], added to the attention weights; see `ViT`.
          class_token_only: return the output of the first token of each image only.
          residual: of the shape of the output, or None.

        Returns:
          The output [B * T, D], or with `class_token_only` [B, D], and the weights
          [B, H, query T, key T] of all queries in both cases.
        """
        width = x.shape[-1]
        # Glorot-uniform for each of the D x D matrices q, k and v, not for D x 3D.
        glorot = hk.initializers.RandomUniform(-((3 / width) ** 0.5), (3 / width) ** 0.5)
        qkv_layer = Linear(3 * width, w_init=glorot, name="qkv")
        qkv = qkv_layer(x)
        if self.qk_norm:
            qkv = self._normalize_queries_and_keys(qkv)
        q, k, v = self._queries_keys_values(qkv, num_tokens)
        if class_token_only:
            heads, weights = self._attend_from_class_token(
                x, qkv_layer, (q, k, v), attention_offset
            )
        else:
            weights = _softmax(matmul_nt(q, k))  # [B, H, T, T]
            kernel = _choose_kernel(q)
            if attention_offset is not None:
                weights, kernel = weights + attention_offset, None  # no kernel supports it
            if kernel:  # computes the weights itself; XLA computes these only where they are read
                heads = kernel(qkv, num_tokens, self.num_heads)
            else:
                heads = _weighted_values(weights.astype(x.dtype), v)
        return Linear(width, w_init=glorot, name="out")(heads, residual), weights

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
    def _attend_from_class_token(
        self,
        x: jax.Array,
        qkv_layer: Linear,
        qkv: Sequence[jax.Array],
        attention_offset: jax.Array | None,
    ) -> tuple[jax.Array, jax.Array]:
        """Return the output of the first token of each image, [B, D], and the weights of all.

        XLA computes the weights of the other queries, and without `qk_norm` the queries, keys and
        values, only where the caller reads these weights; where a kernel computes the output, also
        those of the first token.

        Args:
          x: [B * T, D].
          qkv_layer: the linear layer of queries, keys and values.
          qkv: queries, keys and values, each [B, H, T, K].
          attention_offset: [B, H, T, T].
        """
        q, k, v = qkv
        width = x.shape[-1]
        parameters = qkv_layer.parameters(width, x.dtype)
        weighted_values: Callable[[jax.Array], jax.Array]
        if self.qk_norm:
            scores = matmul_nt(q[:, :, :1], k)
            weighted_values = functools.partial(_weighted_values, v=v)
        else:
            tokens = x.reshape(len(q), -1, width)
            attention = ClassTokenAttention(tokens, *parameters, self.num_heads)
            scores, weighted_values = attention.scores(), attention.weighted_values
        weights = _softmax(scores)  # [B, H, 1, T]
        others = _softmax(matmul_nt(q[:, :, 1:], k))
        all_weights = jnp.concatenate([weights, others], axis=2)
        if attention_offset is not None:
            all_weights = all_weights + attention_offset
            weights = all_weights[:, :, :1]
        if is_supported(x, *parameters) and not self.qk_norm and attention_offset is None:
            heads = attend_from_class_token(x, *parameters, k.shape[2], self.num_heads)
            return heads, all_weights
        return weighted_values(weights.astype(x.dtype)), all_weights


Kernel = Callable[[jax.Array, int, int], jax.Array]  # (qkv [B * T, 3D], T, H) -> [B * T, D]


def _choose_kernel(q: jax.Array) -> Kernel | None:
    """Return the kernel of attention that supports queries [B, H, T, K], or None."""
    if is_supported(q):
        return attend
    return cudnn_attention if has_cudnn_attention(q.dtype, q.shape[-1]) else None


def _weighted_values(weights: jax.Array, v: jax.Array) -> jax.Array:
    """Return the weighted sums of the values, heads concatenated: [B * query T, D].

    Args:
      weights: [B, H, query T, key T].
      v: the values, [B, H, key T, K].
    """
    heads = swap_tokens_and_heads(matmul(weights, v))  # [B, query T, H, K]
    return heads.reshape(-1, heads.shape[2] * heads.shape[3])


def _softmax(scores: jax.Array) -> jax.Array:
    """Return the softmax over the keys, in float32 where the scores have a lower precision."""
    return jax.nn.softmax(scores.astype(jnp.promote_types(scores.dtype, jnp.float32)), axis=-1)
