"""Attention rollout: the product of the attention of all layers (arXiv 2005.00928).

Rollout does not depend on a class: an image has the same map for every class.
"""

import functools
from collections.abc import Callable

import numpy as np

from vit_hk.params import HeadFusion

HEAD_FUSIONS: dict[HeadFusion, Callable] = {"mean": np.mean, "max": np.max, "min": np.min}


def attention_rollout(
    attention: np.ndarray,
    pool: str,
    head_fusion: HeadFusion = "mean",
    discard_ratio: float = 0.0,
) -> np.ndarray:
    """Return the share of each input token in each token of the last layer.

    Args:
      attention: [L, B, H, query T, key T].
      pool: with "cls" the first token is the class token.
      head_fusion: reduction over the heads of a layer; the paper takes the mean.
      discard_ratio: share of the fused weights of each image and layer that are set to 0, the
        smallest ones, in [0, 1). Weights for the class token as key are always kept.

    Returns:
      [B, T, T]; row i holds the shares of the input tokens in token i of the last layer, and
      sums to 1.

    >>> attention = np.array([[0.0, 1.0], [0.0, 1.0]]).reshape(1, 1, 1, 2, 2)
    >>> attention_rollout(attention, pool="gap")
    array([[[0.5, 0.5],
            [0. , 1. ]]])
    """
    fused = HEAD_FUSIONS[head_fusion](attention, axis=2)
    return residual_rollout(discard_smallest(fused, discard_ratio, pool))


def discard_smallest(fused: np.ndarray, ratio: float, pool: str) -> np.ndarray:
    """Return a copy in which a share of the smallest weights of each image and layer is 0.

    Args:
      fused: [L, B, T, T], attention weights fused over the heads.
      ratio: share of the weights, in [0, 1); rounded down to a whole number of weights.
      pool: with "cls" the first column, the weights for the class token as key, stays unchanged.
    """
    if ratio == 0:
        return fused.copy()
    unchanged, candidates = np.split(fused, [1 if pool == "cls" else 0], axis=-1)
    flat = candidates.reshape(*candidates.shape[:2], -1)
    smallest = flat.argsort(axis=-1, kind="stable")[..., : int(ratio * flat.shape[-1])]
    flat = flat.copy()
    np.put_along_axis(flat, smallest, 0.0, axis=-1)
    return np.concatenate([unchanged, flat.reshape(candidates.shape)], axis=-1)


def residual_rollout(fused: np.ndarray) -> np.ndarray:
    """Return the product of all layers, each with its residual connection (section 3, equation 1).

    A layer is 0.5 A + 0.5 I, with the rows scaled to sum to 1.

    Args:
      fused: [L, B, T, T], attention weights fused over the heads, not negative.

    Returns:
      [B, T, T]; each row sums to 1.
    """
    mixed = 0.5 * fused + 0.5 * np.eye(fused.shape[-1], dtype=fused.dtype)
    mixed /= mixed.sum(axis=-1, keepdims=True)
    return functools.reduce(lambda below, layer: layer @ below, mixed)
