"""The convolutions of a stem, as a list: for the model, and for what counts or exports them.

The stem "conv" has convolutions of stride 2 (arXiv 2106.14881). There is no batch norm, unlike in
the paper: it would keep statistics beside the weights, and an image's logits would depend on the
other images of its batch.

The stem "cct" has convolutions of stride 1 and max pooling of stride 2, as the tokenizer of the
Compact Convolutional Transformer (arXiv 2104.05704), with GELU instead of ReLU. GELU follows the
pooling, which for ReLU makes no difference and here saves three of four evaluations.

The stem "hybrid" is a small residual network before the transformer, as the hybrid architecture of
arXiv 2010.11929, section 3.1: a convolution with a residual connection follows each one of "cct",
and there is a LayerNorm over the channels of a pixel before each GELU.
"""

from typing import NamedTuple

from vit_hk.params import Stem

KERNEL_SIZE = 3
MIN_CHANNELS = 8


class StemLayer(NamedTuple):
    """One convolution of the stem, and what follows it."""

    stride: int  # of the convolution
    pool_stride: int  # of the max pooling after it; 1 = no pooling
    channels: int  # of the output
    has_norm: bool = False  # LayerNorm before GELU
    is_residual: bool = False  # the input is added to the output

    @property
    def downsampling(self) -> int:
        """Return the factor by which height and width become smaller."""
        return self.stride * self.pool_stride


def stem_layers(stem: Stem, patch_size: int, hidden_size: int) -> list[StemLayer]:
    """Return the convolutions of the stem, whose output is cut into smaller patches.

    There is a convolution for each factor 2 of the patch size, which halves height and width, and
    channels double up to D. The odd factor of the patch size remains as the side of the smaller
    patches, with fewer channels, so that such a patch has about D elements. An odd patch size has
    one convolution of stride 1 without pooling. The stem "hybrid" has a residual convolution after
    each of these. The stem "linear" has no convolution.

    Args:
      stem: the kind of the stem.
      patch_size: P, in pixels, 1 or more.
      hidden_size: D.

    >>> stem_layers("cct", 6, 72)
    [StemLayer(stride=1, pool_stride=2, channels=8, has_norm=False, is_residual=False)]
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
    is_hybrid = stem == "hybrid"
    layers = []
    for index, pair in enumerate(strides, 1):
        channels = max(MIN_CHANNELS, last >> (len(strides) - index))
        layers.append(StemLayer(*pair, channels, has_norm=is_hybrid))
        if is_hybrid:
            layers.append(StemLayer(1, 1, channels, has_norm=True, is_residual=True))
    return layers
