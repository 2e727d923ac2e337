"""Attribution methods: each gives a map with one relevance value per patch of an image."""

import numpy as np

from vit_hk.explain.patch_attention import patch_attention
from vit_hk.explain.relevance import gradient_rollout, relevance
from vit_hk.explain.rollout import attention_rollout
from vit_hk.params import HeadFusion

# The first two do not depend on the class; the last two attribute the logit of one class.
METHODS = ("last_layer", "rollout", "gradient_rollout", "relevance")


def attribution_maps(
    attention: np.ndarray,
    gradient: np.ndarray,
    num_patches: int,
    pool: str,
    head_fusion: HeadFusion,
    discard_ratio: float,
) -> np.ndarray:
    """Return the maps of all METHODS, with the classified token as the query.

    Args:
      attention: [L, B, H, query T, key T].
      gradient: gradient of the logit of one class with respect to `attention`, the same shape.
      num_patches: N.
      pool: "cls" (the class token is classified) or "gap" (the mean of the patches is).
      head_fusion: how rollout fuses the heads; see `attention_rollout`.
      discard_ratio: share of the weights that rollout discards; see `attention_rollout`.

    Returns:
      Float32 [M, B, N], not negative. The methods differ in scale; compare their maps after
      `normalize_maps`.
    """
    token_maps = (
        attention[-1].mean(axis=1),
        attention_rollout(attention, pool, head_fusion, discard_ratio),
        gradient_rollout(attention, gradient),
        relevance(attention, gradient),
    )
    maps = [patch_attention(token_map, num_patches, pool) for token_map in token_maps]
    return np.stack(maps).astype(np.float32)


def normalize_maps(maps: np.ndarray) -> np.ndarray:
    """Scale each map [..., N] to sum to 1; a map of zeros stays a map of zeros.

    >>> normalize_maps(np.array([[1.0, 3.0], [0.0, 0.0]]))
    array([[0.25, 0.75],
           [0.  , 0.  ]])
    """
    sums = maps.sum(axis=-1, keepdims=True)
    return np.divide(maps, sums, out=np.zeros_like(maps), where=sums > 0)
