"""Random erasing (arXiv 1708.04896, algorithm 1): a rectangle of an image turns black."""

import jax
import jax.numpy as jnp
import numpy as np

from vit_hk.model.random_keys import draw

# Those of the paper: the area as a share of the image's, and the height over the width.
AREAS = (0.02, 0.4)
ASPECTS = (0.3, 1 / 0.3)
NUM_DRAWS = 64  # areas and aspects that are drawn from


def random_erase(keys: jax.Array, images: jax.Array, probability: float) -> jax.Array:
    """Turn a random rectangle of some images black.

    Area and aspect ratio are drawn uniformly, as in the paper. The paper draws again where the
    rectangle leaves the image. Here it is cut to the sides of the image, and then placed inside.

    Args:
      keys: [B], a JAX random key for each image.
      images: [B, height, width, channels], any dtype.
      probability: share of the images that are erased.

    Returns:
      Images of the same shape and dtype.
    """
    height, width = images.shape[1:3]
    # A table, since roots round otherwise on another kind of device.
    sizes = jnp.asarray(rectangle_sizes(height, width))

    def draw_rectangle(key: jax.Array) -> jax.Array:
        coin_key, size_key, place_key = jax.random.split(key, 3)
        size = sizes[jax.random.randint(size_key, (), 0, len(sizes))]
        start = jax.random.randint(place_key, (2,), 0, jnp.array([height, width]) - size + 1)
        is_erased = jax.random.bernoulli(coin_key, probability)
        return jnp.stack([start, start + jnp.where(is_erased, size, 0)])

    (top, left), (bottom, right) = jnp.moveaxis(draw(keys, draw_rectangle), 0, -1)[..., np.newaxis]
    row, column = np.arange(height), np.arange(width)
    rows, columns = (row >= top) & (row < bottom), (column >= left) & (column < right)
    is_inside = rows[:, :, np.newaxis] & columns[:, np.newaxis]  # [B, height, width]
    return jnp.where(is_inside[..., np.newaxis], 0, images)


def rectangle_sizes(height: int, width: int) -> np.ndarray:
    """Return the heights and widths that rectangles have with equal probability, int32 [n, 2]."""
    shares = (np.arange(NUM_DRAWS) + 0.5) / NUM_DRAWS
    areas = height * width * (AREAS[0] + (AREAS[1] - AREAS[0]) * shares)
    aspects = ASPECTS[0] + (ASPECTS[1] - ASPECTS[0]) * shares
    area, aspect = (x.ravel() for x in np.meshgrid(areas, aspects))
    sizes = np.stack([np.sqrt(area * aspect), np.sqrt(area / aspect)], axis=1)
    return np.rint(sizes).clip(1, [height, width]).astype(np.int32)
