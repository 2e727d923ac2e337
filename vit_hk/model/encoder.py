"""The pre-norm Transformer encoder (arXiv 2010.11929, equations 2 and 3).

Between attentions no token needs its neighbours, so the tokens of all images stand one
below the other as [B * T, D]: XLA then makes one large matrix product of each linear
layer, which on a CPU trains half as fast again as [B, T, D].
"""

import dataclasses

import haiku as hk
import jax
import jax.numpy as jnp

from vit_hk.model.attention import SelfAttention
from vit_hk.model.gelu import gelu
from vit_hk.model.linear import Linear
from vit_hk.model.normalization import layer_norm

GLOROT_UNIFORM = hk.initializers.VarianceScaling(1.0, "fan_avg", "uniform")
TINY_BIAS = hk.initializers.RandomNormal(1e-6)  # as in Google's code for the paper


def dropout(x: jax.Array, rate: float, is_training: bool) -> jax.Array:
    """Zero each number with probability `rate` and scale up the rest; only in training."""
    return hk.dropout(hk.next_rng_key(), rate, x) if is_training and rate else x


def drop_path(
    branch: jax.Array, rate: float | jax.Array, tokens: int, is_training: bool
) -> jax.Array:
    """Drop a residual branch [B * T, D] for whole images, scale up the others.

    Stochastic depth (arXiv 1603.09382); only in training. A rate of 0.0 draws no random
    numbers; of a rate that is an array nobody knows its number while the model is traced.
    """
    if not is_training or (isinstance(rate, float) and not rate):
        return branch
    keep = jax.random.bernoulli(hk.next_rng_key(), 1.0 - rate, (len(branch) // tokens, 1))
    return jnp.where(jnp.repeat(keep, tokens, axis=0), branch / (1.0 - rate), 0.0)


@dataclasses.dataclass
class FeedForward(hk.Module):
    """Linear, GELU, linear."""

    mlp_dim: int
    dropout: float = 0.0
    name: str | None = None

    def __call__(self, x: jax.Array, is_training: bool) -> jax.Array:
        """From [rows, D] to [rows, D]."""
        width = x.shape[-1]
        init = {"w_init": GLOROT_UNIFORM, "b_init": TINY_BIAS}
        x = gelu(Linear(self.mlp_dim, name="in", **init)(x))  # [rows, mlp_dim]
        x = dropout(x, self.dropout, is_training)
        return Linear(width, name="out", **init)(x)


@dataclasses.dataclass
class Block(hk.Module):
    """Attention and feed-forward, each after a LayerNorm and beside a residual connection."""

    num_heads: int
    mlp_dim: int
    dropout: float = 0.0
    drop_path: float | jax.Array = 0.0
    qk_norm: bool = False
    name: str | None = None

    def __call__(
        self,
        x: jax.Array,
        tokens: int,
        is_training: bool,
        attention_offset: jax.Array | None = None,
        only_first: bool = False,
    ) -> tuple[jax.Array, jax.Array]:
        """From tokens [B * T, D] to new tokens [B * T, D] and weights [B, H, T, T].

        With `only_first` the new tokens are the first of each image, [B, D].
        """
        attention = SelfAttention(self.num_heads, self.qk_norm, name="attention")
        branch, weights = attention(layer_norm(x, "norm_1"), tokens, attention_offset, only_first)
        if only_first:
            x, tokens = x[::tokens], 1
        x = x + self._regularize(branch, tokens, is_training)
        feed_forward = FeedForward(self.mlp_dim, self.dropout, name="mlp")
        branch = feed_forward(layer_norm(x, "norm_2"), is_training)
        return x + self._regularize(branch, tokens, is_training), weights

    def _regularize(self, branch: jax.Array, tokens: int, is_training: bool) -> jax.Array:
        branch = dropout(branch, self.dropout, is_training)
        return drop_path(branch, self.drop_path, tokens, is_training)
