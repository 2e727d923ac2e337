"""Attention entropy, in nats: high where a query token attends evenly to all key tokens."""

import numpy as np


def attention_entropy(attention: np.ndarray) -> np.ndarray:
    """Return the entropy of the attention weights, averaged over the query tokens, in nats.

    It is 0 where each query token attends to a single key token, and log T, its maximum, where
    the attention is uniform.

    Args:
      attention: [L, B, H, query T, key T]; each row sums to 1.

    Returns:
      [L, B, H].
    """
    # 0 log 0 counts as 0, its limit.
    log_weights = np.log(attention, out=np.zeros_like(attention), where=attention > 0)
    return -(attention * log_weights).sum(axis=-1).mean(axis=-1)
