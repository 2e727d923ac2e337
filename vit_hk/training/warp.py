"""Rotation, scaling, elastic distortion and translation, in one bilinear resampling.

Together they give a sampling grid: for each pixel of the result, the position in the image that its
value comes from. So the image is interpolated, and thereby blurred, only once.

A compiler fuses floating-point operations in another way for another number of images, and then
they round differently. Nothing here rounds in such operations: positions are whole numbers of 1/256
pixel, cosines come from tables, and sums of float32 numbers stay below 2**24, where they are exact.
So an image is warped to the same bits whatever the layout of its batch.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vit_hk.model.random_keys import derive, draw
from vit_hk.params import AugmentSettings

# Positions are in units of 1/256 pixel, as in the texture units of GPUs.
PIXEL_BITS = 8
PIXEL = 1 << PIXEL_BITS
# Coefficients of linear maps are in units of 1/2048: positions then fit int32, even of images of
# 4096 x 4096 pixels that are translated by 1000 pixels and scaled to a sixteenth.
ONE = 2048
MIN_SCALE = 1 / 16
NUM_DRAWS = 4096  # angles and scales that are drawn from, equally spaced

# Standard deviation of the Gaussians of an elastic distortion, and the distance between them, as a
# share of the image's shorter side: 4 of 28 pixels, the best value of Simard et al.
GAUSSIAN_STD = 1 / 7
NOISE_BITS = 10  # uniform noise is one of the odd numbers -1023 … 1023
GAUSSIAN_ONE = 4096  # the values of Gaussians are in units of 1/4096


class AffineMaps(NamedTuple):
    """Affine maps of B images: from a position in the output to that in the input.

    Positions are relative to the centre of an image, rows first.
    """

    linear: jax.Array  # int32 [2, 2, B], in 1 / ONE
    offset: jax.Array  # int32 [2, B], in 1 / (2 ONE) pixel


def random_warp(
    keys: jax.Array,
    images: jax.Array,
    settings: AugmentSettings,
    first: AffineMaps | None = None,
) -> jax.Array:
    """Rotate, scale, distort and translate each image at random, and pad it with black.

    Args:
      keys: [B], a JAX random key for each image.
      images: [B, height, width, channels], any dtype; the result is exact for uint8.
      settings: the angle is drawn uniformly from -rotate … rotate degrees, the scale from
        1 - scale … 1 + scale, both translations from the whole pixels -shift … shift, and the
        displacements of an elastic distortion have a standard deviation of `elastic` pixels.
      first: maps that are applied before all of these.

    Returns:
      float32 [B, height, width, channels].
    """
    shift_keys, affine_keys, elastic_keys = (derive(keys, use) for use in range(3))
    height, width = images.shape[1:3]
    low, high = -settings.shift, settings.shift + 1
    shift = draw(shift_keys, lambda key: jax.random.randint(key, (2,), low, high)).T
    angle, scale = draw(affine_keys, lambda key: jax.random.randint(key, (2,), 0, NUM_DRAWS)).T
    draws = np.linspace(-1, 1, NUM_DRAWS)
    rotation = jnp.asarray(rotations(np.deg2rad(settings.rotate) * draws))[..., angle]
    scaling = jnp.asarray(scalings(1 + settings.scale * draws))[scale]
    linear = rounded_shift(rotation * scaling, ONE)
    maps = AffineMaps(linear, jnp.zeros_like(linear[0]))
    if first is not None:
        product = (first.linear[:, :, np.newaxis] * linear).sum(axis=1)
        maps = AffineMaps(rounded_shift(product, ONE), first.offset)
    rows, columns = affine_grid(height, width, maps, shift)
    if settings.elastic:
        field = smooth_noise(elastic_keys, 2, height, width, settings.elastic * PIXEL)
        rows, columns = rows + field[:, 0], columns + field[:, 1]
    return resample(images, rows, columns)


def rotations(angles: np.ndarray) -> np.ndarray:
    """Return linear maps that rotate images counterclockwise, int32 [2, 2, ...] in 1 / ONE.

    Args:
      angles: [...], in radians.
    """
    cos, sin = np.cos(angles), np.sin(angles)
    return np.rint(ONE * np.array([[cos, sin], [-sin, cos]])).astype(np.int32)


def scalings(scales: np.ndarray) -> np.ndarray:
    """Return the factors of the linear maps that scale images, int32 [n] in 1 / ONE.

    Args:
      scales: [n], larger than 1 to enlarge; those below MIN_SCALE count as MIN_SCALE.
    """
    return np.rint(ONE / np.maximum(scales, MIN_SCALE)).astype(np.int32)


def rounded_shift(numbers: jax.Array, power_of_two: int) -> jax.Array:
    """Divide int32 numbers by a power of two, and round to the nearest."""
    return (numbers + power_of_two // 2) >> (power_of_two.bit_length() - 1)


def affine_grid(
    height: int, width: int, maps: AffineMaps, shift: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return where in the input each pixel of the output is sampled.

    Affine maps are applied to the images, which are translated then.

    Args:
      height: height of the images in pixels.
      width: width of the images in pixels.
      maps: maps of B images.
      shift: int32 [2, B], pixels down and to the right.

    Returns:
      Rows and columns in the images, int32 [B, height, width] each, in 1 / PIXEL.
    """
    down, right = shift[..., np.newaxis, np.newaxis]  # each [B, 1, 1]
    # Twice the distance from the centre, which is a whole number.
    row = 2 * np.arange(height, dtype=np.int32).reshape(-1, 1) - (height - 1) - 2 * down
    column = 2 * np.arange(width, dtype=np.int32) - (width - 1) - 2 * right
    linear, offset = (x[..., np.newaxis, np.newaxis] for x in maps)
    # In 1 / (2 ONE) pixel.
    rows = linear[0, 0] * row + linear[0, 1] * column + offset[0] + ONE * (height - 1)
    columns = linear[1, 0] * row + linear[1, 1] * column + offset[1] + ONE * (width - 1)
    return rounded_shift(rows, 2 * ONE // PIXEL), rounded_shift(columns, 2 * ONE // PIXEL)


def smooth_noise(keys: jax.Array, count: int, height: int, width: int, std: float) -> jax.Array:
    """Draw smooth random fields of mean 0, for elastic distortion.

    These are uniform random numbers smoothed by a Gaussian, as in Simard et al., "Best practices
    for convolutional neural networks applied to visual document analysis" (ICDAR 2003). A smooth
    field needs few random numbers: they are the weights of Gaussians on a coarse grid, a standard
    deviation apart, and two matrix products give the values of all pixels.

    Args:
      keys: [B], a JAX random key for each image.
      count: number of fields of an image.
      height: height of a field in pixels.
      width: width of a field in pixels.
      std: standard deviation of the fields.

    Returns:
      int32 [B, count, height, width], rounded to the nearest.
    """
    spacing = GAUSSIAN_STD * min(height, width)
    row_basis, column_basis = _gaussians(height, spacing), _gaussians(width, spacing)
    (_, rows), (_, columns) = row_basis.shape, column_basis.shape
    shape = (count * columns, rows)
    bits = draw(keys, lambda key: jax.random.bits(key, shape, jnp.uint16))
    noise = 2 * (bits >> (16 - NOISE_BITS)).astype(jnp.float32) - (2**NOISE_BITS - 1)
    # Each a product of two matrices: a small product for each field takes a CPU twice as long. The
    # weights of a pixel add up to less than 1.9, so no sum exceeds 1.9 * 1.9 * 1023 * 4096 < 2**24.
    smooth_rows = _exact_product(noise.reshape(-1, rows), row_basis)
    smooth_rows = jnp.round(smooth_rows / GAUSSIAN_ONE).reshape(-1, columns, height)
    smooth = _exact_product(smooth_rows.swapaxes(1, 2).reshape(-1, columns), column_basis)
    noise_std = ((4**NOISE_BITS - 1) / 3) ** 0.5
    field = jnp.round(smooth * np.float32(std / (noise_std * GAUSSIAN_ONE)))
    return field.astype(jnp.int32).reshape(len(keys), count, height, width)


def _exact_product(whole_numbers: jax.Array, basis: np.ndarray) -> jax.Array:
    """Return whole_numbers @ basis.T; a GPU must not round its factors to fewer bits."""
    return jnp.matmul(whole_numbers, basis.T, precision=jax.lax.Precision.HIGHEST)


def _gaussians(length: int, spacing: float) -> np.ndarray:
    """Return all Gaussians at each pixel in 1 / GAUSSIAN_ONE, float32 [length, Gaussians].

    The squares of a row sum to 1, so that a weighted sum keeps the variance of its weights.
    """
    centers = spacing * np.arange(-1, np.ceil((length - 1) / spacing) + 2)
    values = np.exp(-0.5 * ((np.arange(length)[:, np.newaxis] - centers) / spacing) ** 2)
    normalized = values / np.linalg.norm(values, axis=1, keepdims=True)
    return np.rint(GAUSSIAN_ONE * normalized).astype(np.float32)


def resample(images: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Resample images bilinearly at the positions of a sampling grid, and pad them with black.

    Args:
      images: [B, height, width, channels], any dtype; the result is exact for uint8.
      rows: int32 [B, new height, new width], row of each position in 1 / PIXEL.
      columns: int32 [B, new height, new width], column of each position in 1 / PIXEL.

    Returns:
      float32 [B, new height, new width, channels].
    """
    batch, height, width, channels = images.shape
    # One black row before the first and two after the last: positions outside of the image are
    # clipped to the first or the second to last row, and each position reads the next row as well.
    padded = jnp.pad(images, ((0, 0), (1, 2), (1, 2), (0, 0)))
    row = jnp.clip(rows + PIXEL, 0, (height + 1) * PIXEL)
    column = jnp.clip(columns + PIXEL, 0, (width + 1) * PIXEL)
    top, left = row >> PIXEL_BITS, column >> PIXEL_BITS
    below, right = (
        (position & (PIXEL - 1))[..., np.newaxis].astype(jnp.float32) for position in (row, column)
    )
    # One flat index per pixel: that way XLA's CPU backend gathers a value in a few nanoseconds.
    first_row = (height + 3) * np.arange(batch).reshape(-1, 1, 1)
    corner = (first_row + top) * (width + 3) + left
    pixels = padded.reshape(-1, channels)

    def at(offset: int) -> jax.Array:
        # In bounds, since rows and columns are clipped above.
        values = pixels.at[corner + offset].get(mode="promise_in_bounds")
        return values.astype(jnp.float32)

    # Whole numbers below 255 * 256 * 256 < 2**24.
    upper = (PIXEL - right) * at(0) + right * at(1)
    lower = (PIXEL - right) * at(width + 3) + right * at(width + 4)
    return ((PIXEL - below) * upper + below * lower) / PIXEL**2
