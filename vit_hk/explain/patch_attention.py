"""Which patches a token looks at: the token that is classified, or any other."""

import numpy as np

from vit_hk.errors import UserError


def name_of_reader(pool: str) -> str:
    """What figures call the token that `patch_attention` lets look."""
    return "the class token" if pool == "cls" else "the mean patch"


def patch_attention(attention: np.ndarray, num_patches: int, pool: str) -> np.ndarray:
    """Attention from the token that is classified to each patch.

    Args:
      attention: [..., query T, key T], for example [L, B, H, T, T], or a relation of all
        tokens with all tokens that is made of it; the patches are the last tokens.
      num_patches: N.
      pool: "cls" takes the row of the class token. With "gap" all patches are pooled, so
        the mean over their rows is taken.

    Returns:
      [..., N]. A row of attention sums to 1 less what goes to class and register tokens.
    """
    queries = attention[..., :1, :] if pool == "cls" else attention[..., -num_patches:, :]
    return queries.mean(axis=-2)[..., -num_patches:]


def token_attention(
    attention: np.ndarray, *, layer: int, image: int, head: int, query: int
) -> np.ndarray:
    """Attention from any token to every token; all numbers count from 0.

    Args:
      attention: [L, B, H, query T, key T].
      layer: 0 stands next to the image.
      image: place in the batch.
      head: of the layer.
      query: the token that looks, in the order class token (if there is one), registers,
        patches row by row.

    Returns:
      [T], which sums to 1.

    Raises:
      UserError: there is no such layer, image, head or token.
    """
    asked = {"layer": layer, "image": image, "head": head, "query": query}
    for (name, index), count in zip(asked.items(), attention.shape, strict=False):
        if not 0 <= index < count:  # NumPy would take a negative one from the end
            raise UserError(
                f"{name} is {index}, the attention has {count} of them; allowed: 0 to {count - 1}"
            )
    return attention[layer, image, head, query]
