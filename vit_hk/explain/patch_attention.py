"""Attention from the pooled token to the patches.

The pooled token is the one that is classified: the class token, or with pool "gap" the mean of the
patch tokens.
"""

import numpy as np


def query_name(pool: str) -> str:
    """Return the name of the query token of `patch_attention`, for titles and captions."""
    return "the class token" if pool == "cls" else "the mean patch"


def patch_attention(attention: np.ndarray, num_patches: int, pool: str) -> np.ndarray:
    """Return the attention from the pooled token to each patch.

    Args:
      attention: [..., query T, key T], such as attention weights [L, B, H, T, T] or a matrix
        between all tokens that is computed from them; the patches are the last tokens.
      num_patches: N.
      pool: "cls" selects the row of the class token; "gap" takes the mean of the rows of the
        patches.

    Returns:
      [..., N]. A map of attention weights sums to 1 minus the attention to the class token and
      the registers.
    """
    queries = attention[..., :1, :] if pool == "cls" else attention[..., -num_patches:, :]
    return queries.mean(axis=-2)[..., -num_patches:]
