"""A JAX random key for each image, so that its random numbers do not depend on how it is batched.

Augmentations, dropout and drop path draw from these keys in training. Inference has none.
"""

from collections.abc import Callable
from typing import TypeVar

import jax

ImageKeys = jax.Array | None  # [B], JAX random keys; None in inference
Keys = TypeVar("Keys", bound=ImageKeys)


def derive(keys: Keys, number: int | jax.Array) -> Keys:
    """Return other keys for the same images, which depend on a number; None stays None."""
    fold_in = jax.vmap(jax.random.fold_in, (0, None))
    return jax.tree.map(lambda some: fold_in(some, number), keys)


def draw(keys: jax.Array, sample: Callable[[jax.Array], jax.Array]) -> jax.Array:
    """Draw random numbers for each image from its own key.

    Args:
      keys: [B], JAX random keys.
      sample: maps one key to an array [...].

    Returns:
      [B, ...].
    """
    return jax.vmap(sample)(keys)
