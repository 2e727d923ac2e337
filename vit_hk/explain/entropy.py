"""How spread out attention is."""

import numpy as np


def attention_entropy(attention: np.ndarray) -> np.ndarray:
    """Entropy of the attention of a token, averaged over all tokens, in nats.

    0 where each token looks at one token only; log T, the most there is, where each looks at
    all T tokens alike.

    Args:
      attention: [L, B, H, query T, key T]; each row sums to 1.

    Returns:
      [L, B, H].
    """
    # 0 log 0 counts as 0, its limit.
    logarithm = np.log(attention, out=np.zeros_like(attention), where=attention > 0)
    return -(attention * logarithm).sum(axis=-1).mean(axis=-1)
