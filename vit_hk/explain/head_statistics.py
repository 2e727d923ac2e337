"""Statistics of the attention heads of a trained model, averaged over images."""

from typing import NamedTuple

import haiku as hk
import jax
import numpy as np

from vit_hk.data.image_rows import ImageArray
from vit_hk.explain.distance import attention_distance
from vit_hk.explain.entropy import attention_entropy
from vit_hk.explain.token_shares import token_shares
from vit_hk.inference import attention_chunks, run_model
from vit_hk.weights_metadata import WeightsInfo


class HeadStatistics(NamedTuple):
    """Statistics of each layer and head, averaged over images."""

    distance: np.ndarray  # [L, H], in pixels; see attention_distance
    entropy: np.ndarray  # [L, H], in nats; see attention_entropy
    token_shares: np.ndarray  # [L, H, query kind, key kind]; see token_shares


def head_statistics(
    model: hk.Transformed, weights: hk.Params, info: WeightsInfo, images: ImageArray
) -> HeadStatistics:
    """Run the model over images and return the mean statistics of its attention heads.

    Args:
      model: the transformed Haiku model.
      weights: its parameters.
      info: the description of the weights.
      images: uint8 [B, height, width, channels], processed in chunks that bound the attention in
        memory.
    """
    attend = jax.jit(lambda w, x: run_model(model, w, x, info.normalization).attention)
    statistics = []
    for chunk in attention_chunks(len(images), info.model, info.image_shape):
        attention = np.asarray(attend(weights, images[chunk]))
        statistics.append(
            (
                attention_distance(attention, info.grid, info.model.patch_size),
                attention_entropy(attention),
                token_shares(attention, info.num_patches, info.model.pool),
            )
        )
    return HeadStatistics(
        *(np.concatenate(chunks, axis=1).mean(axis=1) for chunks in zip(*statistics, strict=True))
    )
