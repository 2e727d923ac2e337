"""Attention rollout: which patches reach a token through all layers (arXiv 2005.00928).

It knows nothing of classes: the same image gives the same map whatever class is asked for.
"""

import functools
from collections.abc import Callable

import numpy as np

from vit_hk.params import HeadFusion

FUSE: dict[HeadFusion, Callable] = {"mean": np.mean, "max": np.max, "min": np.min}


def attention_rollout(
    attention: np.ndarray,
    pool: str,
    head_fusion: HeadFusion = "mean",
    discard_ratio: float = 0.0,
) -> np.ndarray:
    """Class-agnostic flow from each token of the image to each token of the last layer.

    Args:
      attention: [L, B, H, query T, key T].
      pool: with "cls" the first token is the class token.
      head_fusion: what becomes of the heads of a layer; the paper takes the mean.
      discard_ratio: share of the smallest fused weights of an image and layer that count as
        0, in [0, 1). Weights towards the class token are left alone, and not counted.

    Returns:
      [B, T, T]; row i says how much of the last layer's token i comes from each token of the
      first layer, and sums to 1.
    """
    fused = FUSE[head_fusion](attention, axis=2)
    return roll_out(discard_smallest(fused, discard_ratio, pool))


def discard_smallest(fused: np.ndarray, ratio: float, pool: str) -> np.ndarray:
    """Set a share of the smallest weights of each image and layer to 0.

    Args:
      fused: [L, B, T, T].
      ratio: in [0, 1); rounded down to whole weights.
      pool: with "cls" the first column, attention to the class token, stays as it is.
    """
    kept, free = np.split(fused, [1 if pool == "cls" else 0], axis=-1)
    flat = free.reshape(*free.shape[:2], -1)
    smallest = flat.argsort(axis=-1, kind="stable")[..., : int(ratio * flat.shape[-1])]
    flat = flat.copy()
    np.put_along_axis(flat, smallest, 0.0, axis=-1)
    return np.concatenate([kept, flat.reshape(free.shape)], axis=-1)


def roll_out(fused: np.ndarray) -> np.ndarray:
    """Multiply the layers, each with its residual connection (section 3, equation 1).

    Args:
      fused: [L, B, T, T], not negative. Half of each layer is the residual: 0.5 A + 0.5 I,
        rows scaled to sum to 1.

    Returns:
      [B, T, T].
    """
    mixed = 0.5 * fused + 0.5 * np.eye(fused.shape[-1], dtype=fused.dtype)
    mixed /= mixed.sum(axis=-1, keepdims=True)
    return functools.reduce(lambda below, layer: layer @ below, mixed)
