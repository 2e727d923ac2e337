"""LayerNorm (arXiv 1607.06450) whose means, where kernels do not take it, are matrix products.

XLA's CPU backend adds up the last axis one number after the other. As a product with a column
of 1 / D it uses all lanes of the processor; with that and the gradient written out, a training
step takes 15 to 20 % less time than with hk.LayerNorm.
"""

import dataclasses

import haiku as hk
import jax
import jax.numpy as jnp

from vit_hk.kernels import layer_norm as kernel
from vit_hk.kernels.compiler import fits
from vit_hk.kernels.layer_norm import EPSILON, WIDEST


@dataclasses.dataclass
class LayerNorm(hk.Module):
    """LayerNorm over the last axis, with learned scale and offset, as hk.LayerNorm names them."""

    name: str | None = None

    def __call__(self, x: jax.Array) -> jax.Array:
        """From [..., D] to [..., D]."""
        scale = hk.get_parameter("scale", x.shape[-1:], init=jnp.ones)
        offset = hk.get_parameter("offset", x.shape[-1:], init=jnp.zeros)
        if len(scale) <= WIDEST and fits(x, len(scale)):
            return kernel.layer_norm(x.reshape(-1, len(scale)), scale, offset).reshape(x.shape)
        return _normalize(x, scale, offset)


def layer_norm(x: jax.Array, name: str) -> jax.Array:
    """LayerNorm over the last axis; same shape as `x`."""
    return LayerNorm(name)(x)


@jax.custom_vjp
def _normalize(x: jax.Array, scale: jax.Array, offset: jax.Array) -> jax.Array:
    return _forward(x, scale, offset)[0]


_Kept = tuple[jax.Array, jax.Array, jax.Array]


def _forward(x: jax.Array, scale: jax.Array, offset: jax.Array) -> tuple[jax.Array, _Kept]:
    centered = x - _mean(x)
    inverse = jax.lax.rsqrt(_mean(centered * centered) + EPSILON)  # of the deviation
    normal = centered * inverse
    return normal * scale + offset, (normal, inverse, scale)


def _backward(kept: _Kept, gradient: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    normal, inverse, scale = kept
    scaled = gradient * scale
    inner = scaled - _mean(scaled) - normal * _mean(scaled * normal)
    rows = tuple(range(gradient.ndim - 1))
    return inverse * inner, (gradient * normal).sum(rows), gradient.sum(rows)


_normalize.defvjp(_forward, _backward)


def _mean(x: jax.Array) -> jax.Array:
    """[..., 1], over the last axis. In full precision also where a GPU would round products."""
    width = x.shape[-1]
    return jnp.matmul(x, jnp.full((width, 1), 1 / width, x.dtype), precision="highest")
