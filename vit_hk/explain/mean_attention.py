"""The mean attention of the pooled token over many images."""

from typing import Any

import haiku as hk
import numpy as np

from vit_hk.explain.attention_moments import AttentionMoments
from vit_hk.explain.patch_attention_model import make_patch_attention_model
from vit_hk.inference import build_predictor
from vit_hk.model.vit import ViTOutput
from vit_hk.weights_metadata import WeightsInfo


def mean_attention(
    weights: hk.Params,
    info: WeightsInfo,
    images: np.ndarray,
    batch_size: int,
) -> AttentionMoments:
    """Run the model over images and return the mean attention of the pooled token to the patches.

    Args:
      weights: the parameters of the model.
      info: the description of the weights.
      images: uint8 [B, height, width, channels].
      batch_size: number of images of a batch.

    Raises:
      MemoryError: a batch takes more memory than is free.
    """

    def select(output: ViTOutput) -> Any:
        """Return the maps [images, L, H, N]; a predictor wants the images along the first axis."""
        return output.attention.swapaxes(0, 1)

    model = make_patch_attention_model(info.model, len(info.class_names), info.image_shape)
    attend = build_predictor(model, info, batch_size, select)
    shape = info.model.num_layers, info.model.num_heads, info.num_patches
    total, total_square = np.zeros(shape), np.zeros(shape)
    for start in range(0, len(images), batch_size):
        maps = attend(weights, images[start : start + batch_size]).astype(np.float64)
        total += maps.sum(axis=0)
        total_square += np.square(maps).sum(axis=0)
    return AttentionMoments(
        mean=(total / len(images)).astype(np.float32),
        mean_square=(total_square / len(images)).astype(np.float32),
        count=np.array(len(images)),
    )
