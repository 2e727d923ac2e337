"""Multi-head self-attention that returns its weights (arXiv 2010.11929, appendix A)."""

import dataclasses

import haiku as hk
import jax
import jax.numpy as jnp

from vit_hk.kernels.attention import attend
from vit_hk.kernels.compiler import is_supported
from vit_hk.model.class_token import ClassTokenAttention
from vit_hk.model.layer_norm import layer_norm
from vit_hk.model.linear import Linear
from vit_hk.model.matmul import matmul, matmul_transposed, swap_tokens_and_heads


@dataclasses.dataclass
class SelfAttention(hk.Module):
    """softmax(q k^T / sqrt(K)) v for each head, heads side by side, then a linear layer.

    With `qk_norm`, queries and keys pass a LayerNorm over K first (arXiv 2302.05442).
    """

    num_heads: int
    qk_norm: bool = False
    name: str | None = None

    def __call__(
        self,
        x: jax.Array,
        num_tokens: int,
        offset: jax.Array | None = None,
        class_token_only: bool = False,
    ) -> tuple[jax.Array, jax.Array]:
        """Let each token attend to all tokens of its image.

        Args:
          x: [B * T, D], the tokens of all images, one image after the other.
          num_tokens: T.
          offset: [B, H, T, T], added to the attention weights; see `ViT`.
          class_token_only: return the new first token of each image only.

        Returns:
          The new tokens, [B * T, D] or [B, D], and the weights [B, H, query T, key T].
        """
        width = x.shape[-1]
        # Glorot-uniform for each of the D x D matrices q, k and v, not for D x 3D.
        glorot = hk.initializers.RandomUniform(-((3 / width) ** 0.5), (3 / width) ** 0.5)
        qkv_layer = Linear(3 * width, w_init=glorot, name="qkv")
        qkv = qkv_layer(x)
        q, k, v = self._queries_keys_values(qkv, num_tokens)

        attention: PlainAttention | ClassTokenAttention
        if class_token_only and not self.qk_norm:
            w, b = qkv_layer.parameters(width, x.dtype)
            attention = ClassTokenAttention(x.reshape(-1, num_tokens, width), w, b, self.num_heads)
        elif class_token_only:
            attention = PlainAttention(q[:, :, :1], k, v)
        elif offset is None and not self.qk_norm and is_supported(x, width // self.num_heads):
            attention = FusedAttention(q, k, v, qkv)
        else:
            attention = PlainAttention(q, k, v)

        weights = all_weights = _softmax(attention.scores())  # [B, H, 1 or T, T]
        if class_token_only:
            # XLA computes the weights of the other queries only where the caller reads them.
            others = _softmax(matmul_transposed(q[:, :, 1:], k))
            all_weights = jnp.concatenate([weights, others], axis=2)
        if offset is not None:
            all_weights = all_weights + offset
            weights = all_weights[:, :, : weights.shape[2]]
        mixed = attention.mix(weights.astype(x.dtype))
        return Linear(width, w_init=glorot, name="out")(mixed), all_weights

    @hk.transparent
    def _queries_keys_values(self, qkv: jax.Array, num_tokens: int) -> list[jax.Array]:
        """Split [B * T, 3D] into queries, scaled by 1 / sqrt(K), keys and values [B, H, T, K]."""
        size = qkv.shape[-1] // (3 * self.num_heads)
        q, k, v = (
            swap_tokens_and_heads(part.reshape(-1, num_tokens, self.num_heads, size))
            for part in jnp.split(qkv, 3, axis=-1)
        )
        if self.qk_norm:
            q, k = (
                layer_norm(x, name).astype(v.dtype) for x, name in [(q, "q_norm"), (k, "k_norm")]
            )
        return [q * size**-0.5, k, v]


@dataclasses.dataclass
class PlainAttention:
    """Attention in jax.numpy, on any device and in any precision."""

    q: jax.Array  # [B, H, query T, K], scaled by 1 / sqrt(K)
    k: jax.Array  # [B, H, key T, K]
    v: jax.Array  # [B, H, key T, K]

    def scores(self) -> jax.Array:
        """Return the scores before the softmax, [B, H, query T, key T]."""
        return matmul_transposed(self.q, self.k)

    def mix(self, weights: jax.Array) -> jax.Array:
        """Return the weighted sums of values, heads side by side: [B * query T, D]."""
        mixed = swap_tokens_and_heads(matmul(weights, self.v))  # [B, query T, H, K]
        return mixed.reshape(-1, mixed.shape[2] * mixed.shape[3])


@dataclasses.dataclass
class FusedAttention(PlainAttention):
    """Attention in one kernel; XLA computes the plain weights only where the caller reads them."""

    qkv: jax.Array  # [B * T, 3D]

    def mix(self, weights: jax.Array) -> jax.Array:
        """Return the weighted sums of values; the kernel computes the weights by itself."""
        _, num_heads, num_tokens, _ = weights.shape
        return attend(self.qkv, num_tokens, num_heads)


def _softmax(scores: jax.Array) -> jax.Array:
    """Return the softmax over the keys, in float32 where the scores have a lower precision."""
    return jax.nn.softmax(scores.astype(jnp.promote_types(scores.dtype, jnp.float32)), axis=-1)
