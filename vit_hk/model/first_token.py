"""Attention of the first token alone, without keys or values of the others.

Of the last block with pool "cls" only the class token is read. Its scores q (W_k x_t) are
(q W_k) x_t, and its mixture, the sum of a_t (W_v x_t), is W_v (sum of a_t x_t): so two small
products take the place of two linear layers over all tokens, and a training step takes 4 to 5 %
less time. The bias of the keys adds the same to all scores of a query, which the softmax takes
away again.
"""

import jax
import jax.numpy as jnp

from vit_hk.model.products import product, product_with_transpose


class FirstToken:
    """The first token of each image, as a query."""

    def __init__(self, x: jax.Array, w: jax.Array, b: jax.Array, num_heads: int) -> None:
        """Take the tokens [B, T, D], and of the linear layer for q, k, v w [D, 3D] and b [3D]."""
        width = x.shape[-1]
        self.x = x
        self.w_q, self.w_k, self.w_v = w.reshape(width, 3, num_heads, -1).transpose(1, 2, 0, 3)
        self.b_q, _, self.b_v = b.reshape(3, num_heads, 1, -1)

    def scores(self) -> jax.Array:
        """Of all keys, before the softmax: [B, H, 1, T]."""
        heads, _, size = self.w_q.shape
        first = jnp.broadcast_to(self.x[:, 0], (heads, len(self.x), self.x.shape[-1]))
        q = (product(first, self.w_q) + self.b_q) * size**-0.5  # [H, B, K]
        asked = product_with_transpose(q, self.w_k).swapaxes(0, 1)  # [B, H, D]
        return product_with_transpose(asked, self.x)[:, :, jnp.newaxis]

    def mix(self, weights: jax.Array) -> jax.Array:
        """The mixture of the values in these weights [B, H, 1, T], heads side by side: [B, D]."""
        mixed = product(weights[:, :, 0], self.x).swapaxes(0, 1)  # [H, B, D]
        total = weights.sum(-1).swapaxes(0, 1)  # [H, B, 1]; not 1 where an offset was added
        heads = product(mixed, self.w_v) + total * self.b_v  # [H, B, K]
        return heads.swapaxes(0, 1).reshape(len(self.x), -1)
