"""The maps that are compared: for each image, how much each patch counts."""

import numpy as np

from vit_hk.explain.patch_attention import patch_attention
from vit_hk.explain.relevance import gradient_rollout, relevance
from vit_hk.explain.rollout import attention_rollout
from vit_hk.params import HeadFusion

# The first two know nothing of classes, the last two speak for one class.
METHODS = ("last_layer", "rollout", "gradient_rollout", "relevance")


def explain(
    attention: np.ndarray,
    gradient: np.ndarray,
    num_patches: int,
    pool: str,
    head_fusion: HeadFusion,
    discard_ratio: float,
) -> np.ndarray:
    """Maps of all METHODS, read off the token that is classified.

    Args:
      attention: [L, B, H, query T, key T].
      gradient: the same shape; of the logit of the class that is asked for.
      num_patches: N.
      pool: "cls" or "gap".
      head_fusion: of the rollout; see `attention_rollout`.
      discard_ratio: of the rollout; see `attention_rollout`.

    Returns:
      Float32 [M, B, N], not negative. Methods differ in scale: compare shares of a map's sum.
    """
    relations = (
        attention[-1].mean(axis=1),
        attention_rollout(attention, pool, head_fusion, discard_ratio),
        gradient_rollout(attention, gradient),
        relevance(attention, gradient),
    )
    maps = [patch_attention(relation, num_patches, pool) for relation in relations]
    return np.stack(maps).astype(np.float32)


def shares(maps: np.ndarray) -> np.ndarray:
    """Scale maps [..., N] to sum to 1, so that methods compare; a map of zeros stays one."""
    sums = maps.sum(axis=-1, keepdims=True)
    return np.divide(maps, sums, out=np.zeros_like(maps), where=sums > 0)
