"""Convolutional stem: 3 x 3 convolutions before patches are cut (arXiv 2106.14881).

There is no batch norm, unlike in the paper: it would keep statistics beside the weights, and an
image's logits would depend on the other images of its batch.
"""

import itertools
from typing import NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp

from vit_hk.model.gelu import gelu
from vit_hk.model.linear import Linear
from vit_hk.params import Gelu

LECUN_NORMAL = hk.initializers.VarianceScaling(1.0, "fan_in", "truncated_normal")
KERNEL_SIZE = 3
MIN_CHANNELS = 8


class StemLayer(NamedTuple):
    """The stride and the number of output channels of one convolution of the stem."""

    stride: int
    channels: int


def stem_layers(patch_size: int, hidden_size: int) -> list[StemLayer]:
    """Return the convolutions of the stem, whose output is cut into smaller patches.

    As in the paper, there is a convolution of stride 2 for each factor 2 of the patch size, and
    channels double up to D. The odd factor of the patch size remains as the side of the smaller
    patches, with fewer channels, so that such a patch has about D elements. An odd patch size has
    one convolution of stride 1.

    Args:
      patch_size: P, in pixels, 1 or more.
      hidden_size: D.

    >>> stem_layers(4, 64)
    [StemLayer(stride=2, channels=32), StemLayer(stride=2, channels=64)]
    """
    halvings = (patch_size & -patch_size).bit_length() - 1  # how often 2 divides the patch size
    side = patch_size >> halvings  # its odd factor
    strides = [2] * halvings or [1]
    last = hidden_size // side**2
    return [
        StemLayer(stride, max(MIN_CHANNELS, last >> (len(strides) - index)))
        for index, stride in enumerate(strides, 1)
    ]


def convolve(images: jax.Array, layers: list[StemLayer], gelu_kind: Gelu) -> jax.Array:
    """Apply each convolution, with zero padding, and GELU after it.

    Args:
      images: [B, height, width, channels].
      layers: the convolutions; the product s of their strides divides height and width.
      gelu_kind: see `gelu`.

    Returns:
      [B, height / s, width / s, channels of the last layer].
    """
    for index, layer in enumerate(layers):
        neighbourhoods = _im2col(images, layer.stride)
        convolution = Linear(layer.channels, w_init=LECUN_NORMAL, name=f"conv_{index}")
        images = gelu(convolution(neighbourhoods), gelu_kind)
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
