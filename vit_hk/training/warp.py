"""Rotation, scaling, elastic distortion and translation, in one bilinear resampling.

Together they give a sampling grid: for each pixel of the result, the position in the image that its
value comes from. So the image is interpolated, and thereby blurred, only once.
"""

import jax
import jax.numpy as jnp
import numpy as np

from vit_hk.model.random_keys import derive, draw
from vit_hk.params import AugmentSettings

# Standard deviation of the Gaussians of an elastic distortion, and the distance between them, as a
# share of the image's shorter side: 4 of 28 pixels, the best value of Simard et al.
GAUSSIAN_STD = 1 / 7


def random_warp(keys: jax.Array, images: jax.Array, settings: AugmentSettings) -> jax.Array:
    """Rotate, scale, distort and translate each image at random, and pad it with black.

    Args:
      keys: [B], a JAX random key for each image.
      images: [B, height, width, channels], any dtype.
      settings: the angle is drawn uniformly from -rotate … rotate degrees, the scale from
        1 - scale … 1 + scale, both translations from the whole pixels -shift … shift, and the
        displacements of an elastic distortion have a standard deviation of `elastic` pixels.

    Returns:
      float32 [B, height, width, channels].
    """
    shift_keys, affine_keys, elastic_keys = (derive(keys, use) for use in range(3))
    height, width = images.shape[1:3]
    low, high = -settings.shift, settings.shift + 1
    shift = draw(shift_keys, lambda key: jax.random.randint(key, (2,), low, high)).T
    angle, scale = draw(affine_keys, lambda key: jax.random.uniform(key, (2,), minval=-1.0)).T
    rows, columns = affine_grid(
        height, width, jnp.deg2rad(settings.rotate) * angle, 1 + settings.scale * scale, shift
    )
    if settings.elastic:
        field = settings.elastic * smooth_noise(elastic_keys, 2, height, width)
        rows, columns = rows + field[:, 0], columns + field[:, 1]
    return resample(images, rows, columns)


def affine_grid(
    height: int, width: int, angle: jax.Array, scale: jax.Array, shift: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return where in the input each pixel of the output of an affine map is sampled.

    The map rotates and scales images about their centre, then translates them.

    Args:
      height: height of the images in pixels.
      width: width of the images in pixels.
      angle: float32 [B], radians, counterclockwise as displayed.
      scale: float32 [B], larger than 1 to enlarge.
      shift: int32 [2, B], pixels down and to the right.

    Returns:
      Rows and columns in the images, float32 [B, height, width] each.
    """
    center_row, center_column = (height - 1) / 2, (width - 1) / 2
    down, right = shift[..., np.newaxis, np.newaxis]  # each [B, 1, 1]
    row = np.arange(height).reshape(-1, 1) - center_row - down
    column = np.arange(width) - center_column - right
    cos, sin = (f(angle)[:, np.newaxis, np.newaxis] for f in (jnp.cos, jnp.sin))
    factor = scale[:, np.newaxis, np.newaxis]
    return (
        center_row + (cos * row + sin * column) / factor,
        center_column + (cos * column - sin * row) / factor,
    )


def smooth_noise(keys: jax.Array, count: int, height: int, width: int) -> jax.Array:
    """Draw smooth random fields of mean 0 and standard deviation 1, for elastic distortion.

    These are uniform random numbers smoothed by a Gaussian, as in Simard et al., "Best practices
    for convolutional neural networks applied to visual document analysis" (ICDAR 2003). A smooth
    field needs few random numbers: they are the weights of Gaussians on a coarse grid, a standard
    deviation apart, and two matrix products give the values of all pixels.

    Args:
      keys: [B], a JAX random key for each image.
      count: number of fields of an image.
      height: height of a field in pixels.
      width: width of a field in pixels.

    Returns:
      float32 [B, count, height, width].
    """
    spacing = GAUSSIAN_STD * min(height, width)
    row_basis, column_basis = _gaussians(height, spacing), _gaussians(width, spacing)
    (_, rows), (_, columns) = row_basis.shape, column_basis.shape
    bound = 3**0.5  # a uniform distribution on -√3 … √3 has standard deviation 1
    shape = (count * columns, rows)
    noise = draw(keys, lambda key: jax.random.uniform(key, shape, minval=-bound, maxval=bound))
    # Each a product of two matrices: a small product for each field takes a CPU twice as long.
    smooth_rows = (noise.reshape(-1, rows) @ row_basis.T).reshape(-1, columns, height)
    smooth = smooth_rows.swapaxes(1, 2).reshape(-1, columns) @ column_basis.T
    return smooth.reshape(len(keys), count, height, width)


def _gaussians(length: int, spacing: float) -> np.ndarray:
    """Return the values of all Gaussians at each pixel, float32 [length, number of Gaussians].

    The squares of a row sum to 1, so that a weighted sum keeps the variance of its weights.
    """
    centers = spacing * np.arange(-1, np.ceil((length - 1) / spacing) + 2)
    values = np.exp(-0.5 * ((np.arange(length)[:, np.newaxis] - centers) / spacing) ** 2)
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def resample(images: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Resample images bilinearly at the positions of a sampling grid, and pad them with black.

    Args:
      images: [B, height, width, channels], any dtype.
      rows: float32 [B, new height, new width], row of each position.
      columns: float32 [B, new height, new width], column of each position.

    Returns:
      float32 [B, new height, new width, channels].
    """
    batch, height, width, channels = images.shape
    # One black row before the first and two after the last: positions outside of the image are
    # clipped to the first or the second to last row, and each position reads the next row as well.
    padded = jnp.pad(images, ((0, 0), (1, 2), (1, 2), (0, 0)))
    row = jnp.clip(rows + 1, 0, height + 1)
    column = jnp.clip(columns + 1, 0, width + 1)
    top, left = jnp.floor(row), jnp.floor(column)
    row_fraction, column_fraction = (row - top)[..., np.newaxis], (column - left)[..., np.newaxis]
    # One flat index per pixel: that way XLA's CPU backend gathers a value in a few nanoseconds.
    first_row = (height + 3) * np.arange(batch).reshape(-1, 1, 1)
    corner = (first_row + top.astype(jnp.int32)) * (width + 3) + left.astype(jnp.int32)
    pixels = padded.reshape(-1, channels)

    def at(offset: int) -> jax.Array:
        # In bounds, since rows and columns are clipped above.
        values = pixels.at[corner + offset].get(mode="promise_in_bounds")
        return values.astype(jnp.float32)

    upper = (1 - column_fraction) * at(0) + column_fraction * at(1)
    lower = (1 - column_fraction) * at(width + 3) + column_fraction * at(width + 4)
    return (1 - row_fraction) * upper + row_fraction * lower
