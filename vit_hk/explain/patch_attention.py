"""Which patches the pooled token looks at."""

import numpy as np


def patch_attention(attention: np.ndarray, num_patches: int, pool: str) -> np.ndarray:
    """Attention from the token that is classified to each patch.

    Args:
      attention: [L, B, H, query T, key T]; the patches are the last tokens.
      num_patches: N.
      pool: "cls" takes the row of the class token. With "gap" all patches are pooled, so
        the mean over their rows is taken.

    Returns:
      [L, B, H, N]. A row sums to 1 less what goes to class and register tokens.
    """
    queries = attention[..., :1, :] if pool == "cls" else attention[..., -num_patches:, :]
    return queries.mean(axis=-2)[..., -num_patches:]
