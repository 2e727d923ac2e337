"""Attention from any query token to every key token."""

import numpy as np


def token_attention(
    attention: np.ndarray, *, layer: int, image: int, head: int, query: int
) -> np.ndarray:
    """Return the attention from one query token to every key token; indices count from 0.

    Args:
      attention: [L, B, H, query T, key T].
      layer: index of the layer; layer 0 is the first one after the patch embedding.
      image: index of the image in the batch.
      head: index of the head.
      query: index of the query token. The order is class token (with `pool: cls`), registers,
        patches in row-major order.

    Returns:
      [T], which sums to 1.

    Raises:
      IndexError: an index is negative or too large.

    >>> attention = np.array([[0.9, 0.1], [0.4, 0.6]]).reshape(1, 1, 1, 2, 2)
    >>> token_attention(attention, layer=0, image=0, head=0, query=1)
    array([0.4, 0.6])
    """
    indices = {"layer": layer, "image": image, "head": head, "query": query}
    for (name, index), size in zip(indices.items(), attention.shape, strict=False):
        if not 0 <= index < size:  # NumPy would count a negative index from the end
            raise IndexError(
                f"{name} is {index}, but this axis of the attention has size {size}; "
                f"allowed: 0 to {size - 1}"
            )
    return attention[layer, image, head, query]
