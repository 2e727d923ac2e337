"""Rotation, change of size, elastic distortion and shift, in one bilinear resampling.

All say of each pixel where its value comes from, so the image is read, and blurred, once.
"""

import jax
import jax.numpy as jnp
import numpy as np

from vit_hk.params import AugmentSettings

# Of the bumps that a distortion is made of: their deviation, and how far apart they stand, is
# this part of the image's shorter side: 4 of 28 pixels, which Simard et al. found best.
BUMP = 1 / 7


def random_warp(key: jax.Array, images: jax.Array, settings: AugmentSettings) -> jax.Array:
    """Rotate, resize, distort and shift each image in its own way; outside it is black.

    Args:
      key: a JAX random key.
      images: [B, height, width, channels].
      settings: the angle is drawn evenly from -rotate … rotate degrees, the size from
        1 - scale … 1 + scale, both shifts from the whole pixels -shift … shift, and the
        displacements of an elastic distortion have the standard deviation `elastic` pixels.

    Returns:
      float32 images of the same shape.
    """
    shift_key, affine_key, elastic_key = jax.random.split(key, 3)
    batch, height, width, _ = images.shape
    angle, size = jax.random.uniform(affine_key, (2, batch), minval=-1.0, maxval=1.0)
    shift = jax.random.randint(shift_key, (2, batch), -settings.shift, settings.shift + 1)
    rows, columns = affine_sources(
        height, width, jnp.deg2rad(settings.rotate) * angle, 1 + settings.scale * size, shift
    )
    if settings.elastic:
        field = settings.elastic * smooth_noise(elastic_key, 2 * batch, height, width)
        rows, columns = rows + field[:batch], columns + field[batch:]
    return resample(images, rows, columns)


def affine_sources(
    height: int, width: int, angle: jax.Array, size: jax.Array, shift: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Where the pixels of images that turn and grow about their middle, then move, come from.

    Args:
      height: of the images.
      width: of the images.
      angle: [B], radians, counterclockwise as one looks at the image.
      size: [B], larger than 1 for images that grow.
      shift: [2, B], pixels down and to the right.

    Returns:
      Rows and columns in the images, float32 [B, height, width] each.
    """
    middle_row, middle_column = (height - 1) / 2, (width - 1) / 2
    down, right = shift[..., np.newaxis, np.newaxis]
    row = np.arange(height).reshape(-1, 1) - middle_row - down
    column = np.arange(width) - middle_column - right
    cos, sin = (f(angle)[:, np.newaxis, np.newaxis] for f in (jnp.cos, jnp.sin))
    grown = size[:, np.newaxis, np.newaxis]
    return (
        middle_row + (cos * row + sin * column) / grown,
        middle_column + (cos * column - sin * row) / grown,
    )


def smooth_noise(key: jax.Array, count: int, height: int, width: int) -> jax.Array:
    """Smooth random fields of mean 0 and deviation 1, as for elastic distortions.

    Random numbers in [-1, 1] smoothed by a Gaussian, as in Simard et al., "Best practices for
    convolutional neural networks applied to visual document analysis" (ICDAR 2003). What
    is smooth needs few numbers: they stand on a coarse grid, a bump's deviation apart, and two
    matrix products make all pixels of them.

    Returns:
      float32 [count, height, width].
    """
    spacing = BUMP * min(height, width)
    of_rows, of_columns = _bumps(height, spacing), _bumps(width, spacing)
    (_, rows), (_, columns) = of_rows.shape, of_columns.shape
    even = 3**0.5  # evenly from -√3 … √3 has deviation 1
    noise = jax.random.uniform(key, (count * columns, rows), minval=-even, maxval=even)
    # As products of two matrices; count small ones take a CPU twice as long.
    tall = (noise @ of_rows.T).reshape(count, columns, height).swapaxes(1, 2)
    return (tall.reshape(-1, columns) @ of_columns.T).reshape(count, height, width)


def _bumps(length: int, spacing: float) -> np.ndarray:
    """float32 [length, bumps]: how much each bump counts at a pixel; squares sum to 1."""
    centers = spacing * np.arange(-1, np.ceil((length - 1) / spacing) + 2)
    bumps = np.exp(-0.5 * ((np.arange(length)[:, np.newaxis] - centers) / spacing) ** 2)
    return (bumps / np.linalg.norm(bumps, axis=1, keepdims=True)).astype(np.float32)


def resample(images: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Read images at places between their pixels: bilinear, and black outside.

    Args:
      images: [B, height, width, channels].
      rows: float [B, new height, new width].
      columns: the same shape.

    Returns:
      float32 [B, new height, new width, channels].
    """
    batch, height, width, channels = images.shape
    # A black row before the first; two after the last, since the neighbour of the first is read.
    padded = jnp.pad(images, ((0, 0), (1, 2), (1, 2), (0, 0)))
    row = jnp.clip(rows + 1, 0, height + 1)
    column = jnp.clip(columns + 1, 0, width + 1)
    top, left = jnp.floor(row), jnp.floor(column)
    down, right = (row - top)[..., np.newaxis], (column - left)[..., np.newaxis]
    # One flat index a pixel: XLA's CPU backend gathers that way at a few ns a number.
    first_row = (height + 3) * np.arange(batch).reshape(-1, 1, 1)
    corner = (first_row + top.astype(jnp.int32)) * (width + 3) + left.astype(jnp.int32)
    pixels = padded.reshape(-1, channels)

    def at(offset: int) -> jax.Array:
        found = pixels.at[corner + offset].get(mode="promise_in_bounds")
        return found.astype(jnp.float32)

    upper = (1 - right) * at(0) + right * at(1)
    lower = (1 - right) * at(width + 3) + right * at(width + 4)
    return (1 - down) * upper + down * lower
