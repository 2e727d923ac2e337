"""Patch embedding, which maps images to tokens."""

import dataclasses
import math

import haiku as hk
import jax

from vit_hk.model.linear import Linear
from vit_hk.model.stem import LECUN_NORMAL, convolve
from vit_hk.model.stem_layers import stem_layers
from vit_hk.params import Gelu, Stem


def split_patches(images: jax.Array, patch_size: int) -> jax.Array:
    """Cut images into patches, row by row.

    Args:
      images: [B, height, width, channels]; patch_size divides height and width.
      patch_size: P, in pixels.

    Returns:
      [B, N, P * P * channels], where each patch is flattened as (row, column, channel).

    >>> import numpy as np
    >>> image = np.arange(16).reshape(1, 4, 4, 1)
    >>> split_patches(image, 2)[0].tolist()
    [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    """
    batch, height, width, channels = images.shape
    rows, columns = height // patch_size, width // patch_size
    grid = images.reshape(batch, rows, patch_size, columns, patch_size, channels)
    return grid.transpose(0, 1, 3, 2, 4, 5).reshape(batch, rows * columns, -1)


@dataclasses.dataclass
class PatchEmbedding(hk.Module):
    """Linear projection of flattened patches (arXiv 2010.11929, equation 1).

    It is the same function as a convolution whose kernel and stride are the patch size. With a
    convolutional stem, the same number of patches is cut from the output of the stem.
    """

    patch_size: int
    hidden_size: int
    stem: Stem
    gelu: Gelu  # of the convolutions
    norm_eps: float  # of their LayerNorms
    name: str | None = None

    def __call__(self, images: jax.Array) -> jax.Array:
        """Map images [B, height, width, channels] to tokens [B, N, D]."""
        layers = stem_layers(self.stem, self.patch_size, self.hidden_size)
        images = convolve(images, layers, self.gelu, self.norm_eps)
        patch_size = self.patch_size // math.prod(layer.downsampling for layer in layers)
        patches = split_patches(images, patch_size)  # [B, N, P * P * channels]
        return Linear(self.hidden_size, w_init=LECUN_NORMAL, name="linear")(patches)
