"""Multi-head self-attention that returns its weights (arXiv 2010.11929, appendix A)."""

import dataclasses

import haiku as hk
import jax
import jax.numpy as jnp

from vit_hk.kernels.attention import attend
from vit_hk.kernels.compiler import fits
from vit_hk.model.first_token import FirstToken
from vit_hk.model.linear import Linear
from vit_hk.model.normalization import layer_norm
from vit_hk.model.products import (
    product,
    product_with_transpose,
    swap_tokens_and_heads,
)


@dataclasses.dataclass
class SelfAttention(hk.Module):
    """softmax(q k^T / sqrt(K)) v a head, heads side by side, then a linear layer.

    With `qk_norm`, queries and keys pass a LayerNorm over K first (arXiv 2302.05442).
    """

    num_heads: int
    qk_norm: bool = False
    name: str | None = None

    def __call__(
        self,
        x: jax.Array,
        tokens: int,
        offset: jax.Array | None = None,
        only_first: bool = False,
    ) -> tuple[jax.Array, jax.Array]:
        """Let each token look at all tokens of its image.

        Args:
          x: [B * T, D], the tokens of all images one below the other.
          tokens: T.
          offset: [B, H, T, T], added to the weights; see `ViT`.
          only_first: give the new first token of each image only.

        Returns:
          The new tokens, [B * T, D] or [B, D], and the weights [B, H, query T, key T].
        """
        width = x.shape[-1]
        head = width // self.num_heads
        read = 1 if only_first else tokens
        # Glorot-uniform for each of the D x D matrices q, k and v, not for D x 3D.
        glorot = hk.initializers.RandomUniform(-((3 / width) ** 0.5), (3 / width) ** 0.5)
        qkv = Linear(3 * width, w_init=glorot, name="qkv")
        together = qkv(x)
        q, k, v = (
            swap_tokens_and_heads(part.reshape(-1, tokens, self.num_heads, head))
            for part in jnp.split(together, 3, axis=-1)
        )
        if self.qk_norm:
            q, k = (
                layer_norm(x, name).astype(v.dtype) for x, name in [(q, "q_norm"), (k, "k_norm")]
            )
        q = q * head**-0.5
        first = None
        if only_first and not self.qk_norm:
            w_and_b = qkv.parameters(width, x.dtype)
            first = FirstToken(x.reshape(-1, tokens, width), *w_and_b, self.num_heads)
        scores = first.scores() if first else product_with_transpose(q[:, :, :read], k)
        used = weights = _softmax(scores)
        if only_first:  # XLA leaves the others out, unless somebody reads their weights
            others = _softmax(product_with_transpose(q[:, :, 1:], k))
            weights = jnp.concatenate([used, others], axis=2)
        if offset is not None:
            weights = weights + offset
            used = weights[:, :, :read]
        used = used.astype(x.dtype)
        if first:
            mixed = first.mix(used)
        elif offset is None and not (self.qk_norm or only_first) and fits(x, head):
            mixed = attend(together, tokens, self.num_heads)
        else:
            mixed = swap_tokens_and_heads(product(used, v)).reshape(-1, width)
        return Linear(width, w_init=glorot, name="out")(mixed), weights


def _softmax(scores: jax.Array) -> jax.Array:
    """Over the keys; float32 where the scores have fewer bits."""
    return jax.nn.softmax(scores.astype(jnp.promote_types(scores.dtype, jnp.float32)), axis=-1)
