"""LayerNorm with the one eps that all of the model uses."""

import haiku as hk
import jax

# Google's ViT and timm use 1e-6; Haiku's and torch's own default is 1e-5.
LAYER_NORM_EPS = 1e-6


def layer_norm(x: jax.Array, name: str) -> jax.Array:
    """LayerNorm over the last axis, with learned scale and offset; same shape as `x`."""
    return hk.LayerNorm(-1, create_scale=True, create_offset=True, eps=LAYER_NORM_EPS, name=name)(x)
