"""Class-specific relevance: attention weighted by the gradient of one class's logit."""

import numpy as np

from vit_hk.explain.rollout import residual_rollout


def gradient_weighted_attention(attention: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """Return the mean over the heads of max(0, gradient * attention).

    This is equation 5 of arXiv 2103.15679. Attention that lowers the logit counts as 0, in each
    head separately.

    Args:
      attention: [L, B, H, query T, key T].
      gradient: gradient of the logit of one class with respect to `attention`, the same shape.

    Returns:
      [L, B, T, T].
    """
    return np.maximum(gradient * attention, 0).mean(axis=2)


def relevance(attention: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """Return the relevance of each input token to each token of the last layer, for one class.

    R starts with I, and each layer from the first to the last updates R <- R + A R, where A is
    its `gradient_weighted_attention` (arXiv 2103.15679, equation 6, self-attention). The result is
    R - I: the paper reads the row of the class token, to which I adds nothing for patches. With
    pool "gap" it would give each patch the same relevance, whatever the class.

    Args:
      attention: [L, B, H, query T, key T].
      gradient: gradient of the logit of one class with respect to `attention`, the same shape.

    Returns:
      [B, T, T], not negative; the rows are not normalized.
    """
    first, *others = gradient_weighted_attention(attention, gradient)
    result = first  # R - I, without the rounding errors of a sum with 1
    for layer in others:
        result = result + layer @ result + layer
    return result


def gradient_rollout(attention: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """Return the rollout (arXiv 2005.00928) of gradient-weighted attention, for one class.

    Args:
      attention: [L, B, H, query T, key T].
      gradient: gradient of the logit of one class with respect to `attention`, the same shape.

    Returns:
      [B, T, T]; each row sums to 1.
    """
    return residual_rollout(gradient_weighted_attention(attention, gradient))
