"""Convolutional stems: 3 x 3 convolutions before patches are cut; see `stem_layers.py`."""

import itertools

import haiku as hk
import jax
import jax.numpy as jnp

from vit_hk.model.gelu import gelu
from vit_hk.model.layer_norm import layer_norm
from vit_hk.model.linear import Linear
from vit_hk.model.stem_layers import KERNEL_SIZE, StemLayer
from vit_hk.params import Gelu

LECUN_NORMAL = hk.initializers.VarianceScaling(1.0, "fan_in", "truncated_normal")


def convolve(
    images: jax.Array, layers: list[StemLayer], gelu_kind: Gelu, norm_eps: float
) -> jax.Array:
    """Apply each convolution with zero padding, then max pooling, LayerNorm, GELU and the residual.

    Args:
      images: [B, height, width, channels].
      layers: the convolutions; the product s of their downsampling divides height and width.
      gelu_kind: see `gelu`.
      norm_eps: added to the variance in each LayerNorm.

    Returns:
      [B, height / s, width / s, channels of the last layer]; `images` where there is no layer.
    """
    dtype = images.dtype  # bfloat16 in mixed precision, where a LayerNorm returns float32
    for index, layer in enumerate(layers):
        neighbourhoods = _im2col(images.astype(dtype), layer.stride)
        convolution = Linear(layer.channels, w_init=LECUN_NORMAL, name=f"conv_{index}")
        convolved = convolution(neighbourhoods)
        x = convolved if layer.pool_stride == 1 else _max_pool(convolved)
        if layer.has_norm:
            x = layer_norm(x, norm_eps, f"norm_{index}")
        x = gelu(x, gelu_kind)
        images = images + x if layer.is_residual else x
    return images.astype(dtype)


def _im2col(images: jax.Array, stride: int) -> jax.Array:
    """Return the pixels under the kernel at each position, flattened as (row, column, channel).

    With these, a convolution is one matrix product. With hk.Conv2D, a training step on patches of 4
    pixels takes XLA's CPU backend twice as long.
    """
    _, height, width, _ = images.shape
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    shifted = [
        padded[:, row : row + height : stride, column : column + width : stride]
        for row, column in itertools.product(range(KERNEL_SIZE), repeat=2)
    ]
    return jnp.concatenate(shifted, axis=-1)


def _max_pool(x: jax.Array) -> jax.Array:
    """Return the maxima of windows of 3 x 3 at stride 2, [B, height / 2, width / 2, channels].

    They are maxima of slices: with jax.lax.reduce_window and its gradient, the whole stem takes
    XLA's CPU backend 1.8 times as long to train.

    Args:
      x: [B, height, width, channels], with an even height and width.
    """
    for axis in (1, 2):
        size = x.shape[axis]
        padding = [(1, 1) if axis == padded else (0, 0) for padded in range(4)]
        padded = jnp.pad(x, padding, constant_values=-jnp.inf)
        first, second, third = (
            jax.lax.slice_in_dim(padded, start, start + size, 2, axis)
            for start in range(KERNEL_SIZE)
        )
        x = jnp.maximum(jnp.maximum(first, second), third)
    return x
