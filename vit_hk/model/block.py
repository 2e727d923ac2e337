"""A block of the pre-norm Transformer encoder (arXiv 2010.11929, equations 2 and 3).

Outside of attention each token is processed alone, so the tokens of all images are the rows of one
matrix [B * T, D]. A linear layer is then one large matrix product. Without kernels, a CPU trains
1.5 times as fast with it as with [B, T, D].
"""

import dataclasses

import haiku as hk
import jax
import jax.numpy as jnp

from vit_hk.kernels.compiler import is_supported
from vit_hk.kernels.mlp import mlp_residual
from vit_hk.model.attention import SelfAttention
from vit_hk.model.gelu import gelu
from vit_hk.model.layer_norm import LayerNorm
from vit_hk.model.linear import Linear
from vit_hk.model.random_keys import ImageKeys, derive, draw
from vit_hk.params import Gelu

GLOROT_UNIFORM = hk.initializers.VarianceScaling(1.0, "fan_avg", "uniform")
SMALL_BIAS = hk.initializers.RandomNormal(1e-6)  # as in Google's code for the paper


def dropout(x: jax.Array, rate: float, keys: ImageKeys) -> jax.Array:
    """Zero each element with probability `rate` and scale the rest up, in training only.

    Args:
      x: [B * T, D], the tokens of all images, one image after the other.
      rate: probability of zeroing.
      keys: [B], a random key for each image; None leaves the elements as they are.

    Returns:
      [B * T, D].
    """
    if keys is None or not rate:
        return x
    shape = (len(x) // len(keys), x.shape[1])
    keep = draw(keys, lambda key: jax.random.bernoulli(key, 1.0 - rate, shape))
    return jnp.where(keep.reshape(x.shape), x / (1.0 - rate), 0.0)


def drop_path(branch: jax.Array, rate: float | jax.Array, keys: ImageKeys) -> jax.Array:
    """Zero the residual branch of random images and scale the others up, in training only.

    Also known as stochastic depth (arXiv 1603.09382).

    Args:
      branch: [B * T, D].
      rate: probability of zeroing. A rate of 0.0 draws no random numbers; a rate that is an
        array always draws them, since its value is unknown while the model is traced.
      keys: [B], a random key for each image; None leaves the branch as it is.

    Returns:
      [B * T, D].
    """
    if keys is None or (isinstance(rate, float) and not rate):
        return branch
    keep = draw(keys, lambda key: jax.random.bernoulli(key, 1.0 - rate, (1,)))  # [B, 1]
    keep = jnp.repeat(keep, len(branch) // len(keys), axis=0)
    return jnp.where(keep, branch / (1.0 - rate), 0.0)


@dataclasses.dataclass
class MLP(hk.Module):
    """The MLP of a block: linear, GELU, linear."""

    mlp_dim: int
    gelu: Gelu
    dropout: float = 0.0
    name: str | None = None

    def __call__(
        self, x: jax.Array, keys: ImageKeys = None, residual: jax.Array | None = None
    ) -> jax.Array:
        """Map each token of x [B * T, D] to a token [B * T, D], and add the residual to it.

        Args:
          x: [B * T, D].
          keys: see `dropout`.
          residual: [B * T, D], or None.
        """
        width = x.shape[-1]
        init = {"w_init": GLOROT_UNIFORM, "b_init": SMALL_BIAS}
        linear_in = Linear(self.mlp_dim, name="in", **init)
        linear_out = Linear(width, name="out", **init)
        parameters = [
            *linear_in.parameters(width, x.dtype), *linear_out.parameters(self.mlp_dim, x.dtype)
        ]  # fmt: skip
        has_kernel = self.gelu == "erf" and (keys is None or not self.dropout)
        if has_kernel and residual is not None and is_supported(x, *parameters, residual):
            return mlp_residual(x, *parameters, residual)
        hidden = dropout(gelu(linear_in(x), self.gelu), self.dropout, keys)  # [B * T, M]
        return linear_out(hidden, residual)


@dataclasses.dataclass
class Block(hk.Module):
    """Attention and MLP, each after a LayerNorm and with a residual connection."""

    num_heads: int
    mlp_dim: int
    gelu: Gelu
    norm_eps: float
    dropout: float = 0.0
    drop_path: float | jax.Array = 0.0
    qk_norm: bool = False
    name: str | None = None

    def __call__(
        self,
        x: jax.Array,
        num_tokens: int,
        keys: ImageKeys = None,
        attention_offset: jax.Array | None = None,
        class_token_only: bool = False,
    ) -> tuple[jax.Array, jax.Array]:
        """Map tokens [B * T, D] to new tokens [B * T, D] and attention weights [B, H, T, T].

        Args:
          x: [B * T, D], the tokens of all images, one image after the other.
          num_tokens: T.
          keys: [B], a random key for each image, for dropout and drop path; None in inference.
          attention_offset: [B, H, T, T], added to the attention weights; see `ViT`.
          class_token_only: return only the first new token of each image, [B, D].
        """
        attention = SelfAttention(self.num_heads, self.norm_eps, self.qk_norm, name="attention")
        mlp = MLP(self.mlp_dim, self.gelu, self.dropout, name="mlp")
        normalized, x = LayerNorm(self.norm_eps, "norm_1").and_input(x)
        if class_token_only:
            x = x[::num_tokens]
        branch_adds_residual = self._branch_adds_residual(keys)
        branch, weights = attention(
            normalized, num_tokens, attention_offset, class_token_only,
            residual=x if branch_adds_residual else None,
        )  # fmt: skip
        x = branch if branch_adds_residual else x + self._regularize(branch, derive(keys, 0))
        normalized, x = LayerNorm(self.norm_eps, "norm_2").and_input(x)
        branch = mlp(normalized, derive(keys, 1), residual=x if branch_adds_residual else None)
        x = branch if branch_adds_residual else x + self._regularize(branch, derive(keys, 2))
        return x, weights

    def _branch_adds_residual(self, keys: ImageKeys) -> bool:
        """Return whether the last linear layer of each branch adds the residual.

        That costs nothing where it has a kernel. It does not where the branch is regularized
        before, nor in mixed precision, which would round the residual to that of the branch.
        """
        has_drop_path = not isinstance(self.drop_path, float) or self.drop_path
        is_regularized = keys is not None and (self.dropout or has_drop_path)
        policies = [hk.mixed_precision.get_policy(module) for module in (SelfAttention, MLP)]
        return not is_regularized and policies == [None, None]

    def _regularize(self, branch: jax.Array, keys: ImageKeys) -> jax.Array:
        branch = dropout(branch, self.dropout, derive(keys, 0))
        return drop_path(branch, self.drop_path, derive(keys, 1))
