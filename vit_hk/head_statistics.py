"""What the heads of a trained model do on average over images."""

from typing import NamedTuple

import haiku as hk
import jax
import numpy as np

from vit_hk.explain.distance import attention_distance
from vit_hk.explain.entropy import attention_entropy
from vit_hk.explain.token_shares import token_shares
from vit_hk.inference import attention_chunks, run_model
from vit_hk.weights import WeightsInfo


class HeadStatistics(NamedTuple):
    """Means over images."""

    distance: np.ndarray  # [L, H], in pixels; see attention_distance
    entropy: np.ndarray  # [L, H], in nats; see attention_entropy
    shares: np.ndarray  # [L, H, query 3, key 3]; see token_shares


def head_statistics(
    model: hk.Transformed, weights: hk.Params, info: WeightsInfo, images: np.ndarray
) -> HeadStatistics:
    """Run the model over images uint8 [B, height, width, channels] and look at its heads."""
    attend = jax.jit(lambda w, x: run_model(model, w, x, info.mean, info.std).attention)
    found = []
    for part in attention_chunks(len(images), info.num_patches, info.model):
        attention = np.asarray(attend(weights, images[part]))
        found.append(
            (
                attention_distance(attention, info.grid, info.model.patch_size),
                attention_entropy(attention),
                token_shares(attention, info.num_patches, info.model.pool),
            )
        )
    return HeadStatistics(
        *(np.concatenate(parts, axis=1).mean(axis=1) for parts in zip(*found, strict=True))
    )
