"""Patch embedding, which maps images to tokens, and fixed positional embeddings."""

import dataclasses
import math
from typing import Literal

import haiku as hk
import jax
import numpy as np

from vit_hk.model.linear import Linear
from vit_hk.model.stem import LECUN_NORMAL, convolve, stem_layers


def split_patches(images: jax.Array, patch_size: int) -> jax.Array:
    """Cut images into patches, row by row.

    Args:
      images: [B, height, width, channels]; patch_size divides height and width.
      patch_size: P, in pixels.

    Returns:
      [B, N, P * P * channels], where each patch is flattened as (row, column, channel).

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

    It is the same function as a convolution whose kernel and stride are the patch size. With the
    stem "conv", the same number of patches is cut from the output of convolutions.
    """

    patch_size: int
    hidden_size: int
    stem: Literal["linear", "conv"] = "linear"
    name: str | None = None

    def __call__(self, images: jax.Array) -> jax.Array:
        """Map images [B, height, width, channels] to tokens [B, N, D]."""
        patch_size = self.patch_size
        if self.stem == "conv":
            layers = stem_layers(patch_size, self.hidden_size)
            images = convolve(images, layers)
            patch_size //= math.prod(layer.stride for layer in layers)
        patches = split_patches(images, patch_size)  # [B, N, P * P * channels]
        return Linear(self.hidden_size, w_init=LECUN_NORMAL, name="linear")(patches)


def sincos2d_positions(rows: int, columns: int, hidden_size: int) -> np.ndarray:
    """Return fixed positional embeddings: sines and cosines of a patch's row and column.

    The frequencies are 10000^(-i / (D/4)), i = 0 … D/4 - 1, as in MoCo v3 (arXiv 2104.02057,
    appendix) and Beyer et al. (arXiv 2205.01580).

    Args:
      rows: rows of patches.
      columns: columns of patches.
      hidden_size: D, a multiple of 4.

    Returns:
      float32 [N, D]: sin(column), cos(column), sin(row), cos(row), D/4 of each.
    """
    quarter = hidden_size // 4
    frequency = 10000.0 ** (-np.arange(quarter) / quarter)
    row, column = np.mgrid[:rows, :columns].reshape(2, -1, 1) * frequency  # each [N, D/4]
    parts = [np.sin(column), np.cos(column), np.sin(row), np.cos(row)]
    return np.concatenate(parts, axis=1).astype(np.float32)
