"""A convolutional stem (arXiv 2106.14881): patches that have seen across their borders.

There is no batch norm, unlike in the paper: it would keep statistics beside the weights, and an
image's logits would depend on the others of its batch.
"""

import itertools
from typing import NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp

from vit_hk.model.gelu import gelu
from vit_hk.model.linear import Linear

LECUN_NORMAL = hk.initializers.VarianceScaling(1.0, "fan_in", "truncated_normal")
KERNEL = 3
FEWEST_CHANNELS = 8


class StemLayer(NamedTuple):
    """A convolution of the stem."""

    stride: int
    channels: int


def stem_layers(patch_size: int, hidden_size: int) -> list[StemLayer]:
    """The stem that leaves room for patches of `patch_size` over the product of its strides.

    As in the paper, there is a convolution of stride 2 for each factor 2 of the patch size, and
    channels double up to D. Where the patch size has an odd factor, what is left are patches of
    so many pixels a side, and channels become fewer, so that a patch has about D numbers; an odd
    patch size has one convolution of stride 1.

    Args:
      patch_size: P, in pixels, 1 or more.
      hidden_size: D.
    """
    halvings = (patch_size & -patch_size).bit_length() - 1
    side = patch_size >> halvings
    strides = [2] * halvings or [1]
    last = hidden_size // side**2
    return [
        StemLayer(stride, max(FEWEST_CHANNELS, last >> (len(strides) - index)))
        for index, stride in enumerate(strides, 1)
    ]


def convolve(images: jax.Array, layers: list[StemLayer]) -> jax.Array:
    """Convolution and GELU, layer by layer, with zeros around the images.

    From images [B, height, width, channels] to [B, height / s, width / s, channels of the last
    layer], where s is the product of the strides, which divides height and width.
    """
    for index, layer in enumerate(layers):
        seen = _neighbours(images, layer.stride)
        convolution = Linear(layer.channels, w_init=LECUN_NORMAL, name=f"conv_{index}")
        images = gelu(convolution(seen))
    return images


def _neighbours(images: jax.Array, stride: int) -> jax.Array:
    """What a kernel sees at each of its places, flattened as (row, column, channel).

    So a convolution is one matrix product. With hk.Conv2D, a training step on patches of 4 takes
    XLA's CPU backend twice as long.
    """
    _, height, width, _ = images.shape
    padded = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    shifted = [
        padded[:, row : row + height : stride, column : column + width : stride]
        for row, column in itertools.product(range(KERNEL), repeat=2)
    ]
    return jnp.concatenate(shifted, axis=-1)
