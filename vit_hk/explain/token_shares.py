"""The shares of attention to class token, registers and patches (arXiv 2309.16588)."""

import numpy as np


def token_kinds(num_tokens: int, num_patches: int, pool: str) -> np.ndarray:
    """Return the kind of each token, int [T]: 0 class token, 1 register, 2 patch."""
    class_tokens = 1 if pool == "cls" else 0
    registers = num_tokens - class_tokens - num_patches
    return np.repeat([0, 1, 2], [class_tokens, registers, num_patches])


def token_shares(attention: np.ndarray, num_patches: int, pool: str) -> np.ndarray:
    """Return the share of attention from each kind of query token to each kind of key token.

    Args:
      attention: [L, B, H, query T, key T]; each row sums to 1.
      num_patches: N.
      pool: with "cls" the first token is the class token.

    Returns:
      [L, B, H, query kind, key kind], with the kinds of `token_kinds`: the sum over the key tokens
      of a kind, averaged over the query tokens of a kind. Each row sums to 1, or is 0 where there
      is no query token of that kind.
    """
    kinds = token_kinds(attention.shape[-1], num_patches, pool)
    members = (kinds == np.arange(3)[:, np.newaxis]).astype(attention.dtype)  # [3, T]
    mean = members / np.maximum(1, members.sum(axis=1, keepdims=True))
    return mean @ attention @ members.T
