"""Random augmentation of training images, on the device, inside the compiled step."""

import jax
import jax.numpy as jnp
import numpy as np

from vit_hk.model.random_keys import derive, draw
from vit_hk.params import AugmentSettings
from vit_hk.training.erasing import random_erase
from vit_hk.training.trivial import affine_maps, change_colors, draw_operations
from vit_hk.training.warp import random_warp

# Each augmentation derives keys of its own; `warp.py` has 0 to 2. Without a warp, `random_shift`
# draws from the key of the image itself.
FLIP, TRIVIAL, ERASE = 3, 4, 5


def augment(keys: jax.Array, images: jax.Array, settings: AugmentSettings) -> jax.Array:
    """Augment each image with its own random parameters.

    TrivialAugment changes colours, then images are flipped, rotated, scaled, distorted and
    translated, and last erased in part. All geometric operations but the flip, also those of
    TrivialAugment, are one resampling.

    Args:
      keys: [B], a JAX random key for each image.
      images: uint8 [B, height, width, channels].
      settings: which augmentations are on, and how strong they are.

    Returns:
      Images of the same shape: float32 in [0, 255] where they are resampled, else uint8.
    """
    maps = None
    if settings.trivial:
        choice = draw_operations(derive(keys, TRIVIAL))
        images = change_colors(choice, images)
        maps = affine_maps(choice, *images.shape[1:3])
    if settings.flip:
        images = random_flip(derive(keys, FLIP), images)
    if settings.resamples:
        images = random_warp(keys, images, settings, maps)
    else:
        images = random_shift(keys, images, settings.shift)
    if settings.erase:
        images = random_erase(derive(keys, ERASE), images, settings.erase)
    return images


def random_flip(keys: jax.Array, images: jax.Array) -> jax.Array:
    """Flip each image from left to right with probability 0.5.

    Args:
      keys: [B], a JAX random key for each image.
      images: [B, height, width, channels], any dtype.

    Returns:
      Images of the same shape and dtype.
    """
    is_flipped = draw(keys, jax.random.bernoulli)[:, np.newaxis]
    column = np.arange(images.shape[2])
    # Not a choice between two images, for which XLA would compute TrivialAugment twice.
    source = jnp.where(is_flipped, column[::-1], column)[:, np.newaxis, :, np.newaxis]
    return jnp.take_along_axis(images, source, axis=2, mode="promise_in_bounds")


def random_shift(keys: jax.Array, images: jax.Array, max_shift: int) -> jax.Array:
    """Translate each image by a random whole number of pixels, and pad it with black.

    This is the random crop of CIFAR recipes: a padded image is cropped to its size.

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
