"""Attribution methods: each gives a map with one relevance value per patch of an image."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from vit_hk.explain.patch_attention import patch_attention
from vit_hk.explain.relevance import gradient_rollout, relevance
from vit_hk.explain.rollout import attention_rollout
from vit_hk.params import HeadFusion


class MethodInputs(NamedTuple):
    """The inputs of all attribution methods, of which each method reads some."""

    attention: np.ndarray  # [L, B, H, query T, key T]
    gradient: np.ndarray  # of the logit of one class with respect to `attention`, the same shape
    pool: str  # "cls" (class token) or "gap" (mean of the patch tokens)
    head_fusion: HeadFusion  # of rollout; see `attention_rollout`
    discard_ratio: float  # of rollout; see `attention_rollout`


# Name -> function that returns matrices [B, query T, key T] between all tokens. The last two
# attribute the logit of one class.
METHODS: dict[str, Callable[[MethodInputs], np.ndarray]] = {
    "last_layer": lambda inputs: inputs.attention[-1].mean(axis=1),
    "rollout": lambda inputs: attention_rollout(
        inputs.attention, inputs.pool, inputs.head_fusion, inputs.discard_ratio
    ),
    "gradient_rollout": lambda inputs: gradient_rollout(inputs.attention, inputs.gradient),
    "relevance": lambda inputs: relevance(inputs.attention, inputs.gradient),
}


CLASS_INDEPENDENT = ("last_layer", "rollout")


def attribution_maps(inputs: MethodInputs, num_patches: int) -> np.ndarray:
    """Return the maps of all METHODS, with the pooled token as the query.

    Args:
      inputs: attention and gradient of B images, and the settings of the methods.
      num_patches: N.

    Returns:
      Float32 [methods, B, N], not negative. The methods differ in scale; compare their maps after
      `normalize_maps`.
    """
    maps = [
        patch_attention(method(inputs), num_patches, inputs.pool) for method in METHODS.values()
    ]
    return np.stack(maps).astype(np.float32)


def normalize_maps(maps: np.ndarray) -> np.ndarray:
    """Scale each map [..., N] to sum to 1; a map of zeros stays a map of zeros.

    >>> normalize_maps(np.array([[1.0, 3.0], [0.0, 0.0]]))
    array([[0.25, 0.75],
           [0.  , 0.  ]])
    """
    sums = maps.sum(axis=-1, keepdims=True)
    return np.divide(maps, sums, out=np.zeros_like(maps), where=sums > 0)
