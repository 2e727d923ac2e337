"""Random augmentation of training images, on the device, inside the compiled step."""

import jax
import jax.numpy as jnp

from vit_hk.model.random_keys import draw
from vit_hk.params import AugmentSettings
from vit_hk.training.warp import random_warp


def augment(keys: jax.Array, images: jax.Array, settings: AugmentSettings) -> jax.Array:
    """Translate, rotate, scale and distort each image with its own random parameters.

    Args:
      keys: [B], a JAX random key for each image.
      images: uint8 [B, height, width, channels].
      settings: the strength of each augmentation; 0 turns it off.

    Returns:
      Images of the same shape: uint8 where they are only translated, else float32 in [0, 255].
    """
    if settings.rotate or settings.scale or settings.elastic:
        return random_warp(keys, images, settings)
    return random_shift(keys, images, settings.shift)


def random_shift(keys: jax.Array, images: jax.Array, max_shift: int) -> jax.Array:
    """Translate each image by a random whole number of pixels, and pad it with black.

    Args:
      keys: [B], a JAX random key for each image.
      images: [B, height, width, channels], any dtype.
      max_shift: rows and columns are drawn uniformly from -max_shift … max_shift.

    Returns:
      Images of the same shape and dtype.
    """
    if not max_shift:
        return images
    edge = (max_shift, max_shift)
    padded = jnp.pad(images, ((0, 0), edge, edge, (0, 0)))
    corners = draw(keys, lambda key: jax.random.randint(key, (2,), 0, 2 * max_shift + 1))

    def crop(image: jax.Array, corner: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), images.shape[1:])

    return jax.vmap(crop)(padded, corners)
