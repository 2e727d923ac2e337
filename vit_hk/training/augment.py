"""Random changes of training images, on the device, inside the compiled step."""

import jax
import jax.numpy as jnp

from vit_hk.params import AugmentSettings
from vit_hk.training.warp import random_warp


def augment(key: jax.Array, images: jax.Array, settings: AugmentSettings) -> jax.Array:
    """Move each image in its own way; never mirrored, as a mirrored digit is none.

    Args:
      key: a JAX random key.
      images: uint8 [B, height, width, channels].
      settings: which changes, and how large.

    Returns:
      Images of the same shape: uint8 where they are only shifted, else float32 in [0, 255].
    """
    if settings.rotate or settings.scale or settings.elastic:
        return random_warp(key, images, settings)
    return random_shift(key, images, settings.shift)


def random_shift(key: jax.Array, images: jax.Array, largest: int) -> jax.Array:
    """Shift each image by its own whole number of pixels; black moves in at the edge.

    Args:
      key: a JAX random key.
      images: [B, height, width, channels], any dtype.
      largest: rows and columns are drawn evenly from -largest … largest.

    Returns:
      Images of the same shape and dtype.
    """
    if not largest:
        return images
    edge = (largest, largest)
    padded = jnp.pad(images, ((0, 0), edge, edge, (0, 0)))
    corners = jax.random.randint(key, (len(images), 2), 0, 2 * largest + 1)

    def crop(image: jax.Array, corner: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), images.shape[1:])

    return jax.vmap(crop)(padded, corners)
