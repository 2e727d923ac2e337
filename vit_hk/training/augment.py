"""Random changes of training images, on the device, inside the compiled step."""

import jax
import jax.numpy as jnp


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
