"""A model that returns the attention of the pooled token to the patches, and no other attention."""

from typing import Any

import haiku as hk

from vit_hk.explain.patch_attention import patch_attention
from vit_hk.model.vit import make_model
from vit_hk.params import ImageShape, ModelSettings


def make_patch_attention_model(
    settings: ModelSettings, num_classes: int, image_shape: ImageShape
) -> hk.Transformed:
    """Build a model whose `attention` is that of `patch_attention`, float32 [L, B, H, N].

    The attention weights of all tokens are in memory for one layer at a time, so that a model runs
    on images of many patches where the weights of all layers would not fit.

    Args:
      settings: the architecture.
      num_classes: C.
      image_shape: height, width and channels.
    """
    num_patches = settings.num_patches(image_shape)

    def select(weights: Any) -> Any:  # JAX's arrays have the methods of NumPy's
        return patch_attention(weights, num_patches, settings.pool)

    return make_model(settings, num_classes, scan_layers=True, select_attention=select)
