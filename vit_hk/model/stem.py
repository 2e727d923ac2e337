"""Convolutional stems: 3 x 3 convolutions before patches are cut.

The stem "conv" has convolutions of stride 2 (arXiv 2106.14881). There is no batch norm, unlike in
the paper: it would keep statistics beside the weights, and an image's logits would depend on the
other images of its batch.

The stem "cct" has convolutions of stride 1 and max pooling of stride 2, as the tokenizer of the
Compact Convolutional Transformer (arXiv 2104.05704), with GELU instead of ReLU. GELU follows the
pooling, which for ReLU makes no difference and here saves three of four evaluations.
"""

import itertools
from typing import NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp

from vit_hk.model.gelu import gelu
from vit_hk.model.linear import Linear
from vit_hk.params import Gelu, Stem

LECUN_NORMAL = hk.initializers.VarianceScaling(1.0, "fan_in", "truncated_normal")
KERNEL_SIZE = 3
MIN_CHANNELS = 8


class StemLayer(NamedTuple):
    """One convolution of the stem, and the max pooling after it."""

    stride: int  # of the convolution
    pool_stride: int  # of the max pooling; 1 = no pooling
    channels: int  # of the output

    @property
    def downsampling(self) -> int:
        """Return the factor by which height and width become smaller."""
        return self.stride * self.pool_stride


def stem_layers(stem: Stem, patch_size: int, hidden_size: int) -> list[StemLayer]:
    """Return the convolutions of the stem, whose output is cut into smaller patches.

    There is a convolution for each factor 2 of the patch size, which halves height and width, and
    channels double up to D. The odd factor of the patch size remains as the side of the smaller
    patches, with fewer channels, so that such a patch has about D elements. An odd patch size has
    one convolution of stride 1 without pooling. The stem "linear" has no convolution.

    Args:
      stem: the kind of the stem.
      patch_size: P, in pixels, 1 or more.
      hidden_size: D.

    >>> stem_layers("cct", 6, 72)
    [StemLayer(stride=1, pool_stride=2, channels=8)]
    >>> [layer.channels for layer in stem_layers("conv", 4, 64)]
    [32, 64]
    """
    if stem == "linear":
        return []
    halvings = (patch_size & -patch_size).bit_length() - 1  # how often 2 divides the patch size
    side = patch_size >> halvings  # its odd factor
    halving = (2, 1) if stem == "conv" else (1, 2)
    strides = [halving] * halvings or [(1, 1)]
    last = hidden_size // side**2
    return [
        StemLayer(*pair, max(MIN_CHANNELS, last >> (len(strides) - index)))
        for index, pair in enumerate(strides, 1)
    ]


def convolve(images: jax.Array, layers: list[StemLayer], gelu_kind: Gelu) -> jax.Array:
    """Apply each convolution, with zero padding, its max pooling, and GELU.

    Args:
      images: [B, height, width, channels].
      layers: the convolutions; the product s of their downsampling divides height and width.
      gelu_kind: see `gelu`.

    Returns:
      [B, height / s, width / s, channels of the last layer]; `images` where there is no layer.
    """
    for index, layer in enumerate(layers):
        neighbourhoods = _im2col(images, layer.stride)
        convolution = Linear(layer.channels, w_init=LECUN_NORMAL, name=f"conv_{index}")
        convolved = convolution(neighbourhoods)
        pooled = convolved if layer.pool_stride == 1 else _max_pool(convolved)
        images = gelu(pooled, gelu_kind)
    return images


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
