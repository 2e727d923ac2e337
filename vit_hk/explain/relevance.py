"""Which patches speak for a class: attention weighted by its gradient."""

import numpy as np

from vit_hk.explain.rollout import roll_out


def gradient_weighted(attention: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """Mean over the heads of max(0, gradient * attention) (arXiv 2103.15679, equation 5).

    What lowers the logit of the class counts as nothing, in each head on its own.

    Args:
      attention: [L, B, H, query T, key T].
      gradient: the same shape; of the logit of one class, with respect to the attention.

    Returns:
      [L, B, T, T].
    """
    return np.maximum(gradient * attention, 0).mean(axis=2)


def relevance(attention: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """Relevance of each token for each token of the last layer, for one class.

    R = I, then R <- R + A R from the first layer to the last, with A as in
    `gradient_weighted` (arXiv 2103.15679, equation 6, self-attention).

    Args:
      attention: [L, B, H, query T, key T].
      gradient: the same shape; of the logit of the class, with respect to the attention.

    Returns:
      [B, T, T], not negative, in units of the logit; a row has no fixed sum.
    """
    result = np.eye(attention.shape[-1], dtype=attention.dtype)
    for layer in gradient_weighted(attention, gradient):
        result = result + layer @ result
    return result


def gradient_rollout(attention: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """Rollout (arXiv 2005.00928) of attention that is weighted by its gradient, for one class.

    Args:
      attention: [L, B, H, query T, key T].
      gradient: the same shape; of the logit of the class, with respect to the attention.

    Returns:
      [B, T, T]; each row sums to 1.
    """
    return roll_out(gradient_weighted(attention, gradient))
