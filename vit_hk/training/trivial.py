"""TrivialAugment (Müller and Hutter, arXiv 2103.10158): one random operation on each image.

These are the 14 operations and the 31 strengths of its wide search space. Geometric operations are
affine maps, which `warp.py` composes with all other maps, so that an image is interpolated once.
Operations on colours mix an image with a degenerate one, or look its levels up in a table. A
compiled step computes all of them and keeps the one that was drawn. All numbers are whole, so that
they do not depend on the layout of a batch.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vit_hk.model.random_keys import draw
from vit_hk.training.warp import ONE, AffineMaps, rotations

OPERATIONS = (
    "identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate", "brightness", "color",
    "contrast", "sharpness", "posterize", "solarize", "autocontrast", "equalize",
)  # fmt: skip
NUM_STRENGTHS = 31
LEVELS = 256  # of a pixel
SHARES = np.linspace(0, 1, NUM_STRENGTHS)
SHEARS, PIXELS, DEGREES, CHANGES = 0.99 * SHARES, np.trunc(32 * SHARES), 135 * SHARES, 0.99 * SHARES
POSTERIZE_MASKS = -(2 ** np.rint(6 * SHARES).astype(np.int32))  # of 8 bits, 8 to 2 remain
SOLARIZE_THRESHOLDS = np.ceil(255 * (1 - SHARES)).astype(np.int32)
LUMA = np.array([19595, 38470, 7471])  # of red, green and blue in grey, in 1 / 65536 (ITU-R BT.601)


class Choice(NamedTuple):
    """The operations of B images."""

    operation: jax.Array  # int32 [B], index in OPERATIONS
    strength: jax.Array  # int32 [B], from 0 to NUM_STRENGTHS - 1
    is_negative: jax.Array  # int32 [B], 1 where a shear, translation, … has the negative sign

    def drew(self, *names: str) -> jax.Array:
        """Return where one of the named operations was drawn, bool [B, 1, 1, 1]."""
        numbers = np.array([OPERATIONS.index(name) for name in names])
        is_drawn = (self.operation[:, np.newaxis] == numbers).any(axis=1)
        return is_drawn.reshape(-1, 1, 1, 1)


def draw_operations(keys: jax.Array) -> Choice:
    """Draw an operation, its strength and its sign for each image, uniformly.

    Args:
      keys: [B], a JAX random key for each image.
    """
    limits = np.array([len(OPERATIONS), NUM_STRENGTHS, 2])
    return Choice(*draw(keys, lambda key: jax.random.randint(key, (3,), 0, limits)).T)


def affine_maps(choice: Choice, height: int, width: int) -> AffineMaps:
    """Return the maps of the geometric operations; that of the others is the identity.

    Args:
      choice: the operations of B images.
      height: height of the images in pixels.
      width: width of the images in pixels.
    """
    linear = np.empty((2, 2, len(OPERATIONS), NUM_STRENGTHS, 2), np.int32)
    linear[:] = ONE * np.eye(2, dtype=np.int32).reshape(2, 2, 1, 1, 1)
    offset = np.zeros(linear.shape[1:], np.int32)
    both_signs = np.array([1, -1])

    def rounded(numbers: np.ndarray) -> np.ndarray:
        return np.rint(ONE * numbers[:, np.newaxis] * both_signs).astype(np.int32)

    # Rows come before columns. A shear leaves the top left corner of an image where it is.
    x, y = OPERATIONS.index("shear_x"), OPERATIONS.index("shear_y")
    linear[1, 0, x], offset[1, x] = rounded(SHEARS), rounded(SHEARS * height)
    linear[0, 1, y], offset[0, y] = rounded(SHEARS), rounded(SHEARS * width)
    offset[1, OPERATIONS.index("translate_x")] = rounded(-2 * PIXELS)
    offset[0, OPERATIONS.index("translate_y")] = rounded(-2 * PIXELS)
    angles = np.deg2rad(DEGREES)[:, np.newaxis] * both_signs
    linear[:, :, OPERATIONS.index("rotate")] = rotations(angles)
    return AffineMaps(jnp.asarray(linear)[:, :, *choice], jnp.asarray(offset)[:, *choice])


def change_colors(choice: Choice, images: jax.Array) -> jax.Array:
    """Apply the operations on colours, and leave the images with other operations as they are.

    Args:
      choice: the operations of B images.
      images: uint8 [B, height, width, channels].

    Returns:
      Images of the same shape and dtype.
    """
    pixels = images.astype(jnp.int32)
    strength = choice.strength

    def of_strength(table: np.ndarray) -> jax.Array:
        return jnp.asarray(table)[strength].reshape(-1, 1, 1, 1)

    inverted = jnp.where(pixels >= of_strength(SOLARIZE_THRESHOLDS), LEVELS - 1 - pixels, pixels)
    changed = jnp.where(choice.drew("solarize"), inverted, pixels)
    posterized = pixels & of_strength(POSTERIZE_MASKS)
    changed = jnp.where(choice.drew("posterize"), posterized, changed)
    is_mixed = choice.drew("brightness", "color", "contrast", "sharpness")
    changed = jnp.where(is_mixed, mix_with_degenerate(choice, pixels), changed)
    looked_up = look_up(level_tables(choice, pixels), pixels)
    changed = jnp.where(choice.drew("autocontrast", "equalize"), looked_up, changed)
    return changed.astype(images.dtype)


def mix_with_degenerate(choice: Choice, pixels: jax.Array) -> jax.Array:
    """Mix images with black, grey, their mean grey or a blurred image, or move away from it.

    Args:
      choice: the operations of B images.
      pixels: int32 [B, height, width, channels].

    Returns:
      int32 [B, height, width, channels], with levels from 0 to 255.
    """
    sign = 1 - 2 * choice.is_negative
    change = jnp.asarray(np.rint(ONE * CHANGES).astype(np.int32))[choice.strength]
    factor = (ONE + sign * change).reshape(-1, 1, 1, 1)
    grey = to_grey(pixels)
    size = grey[0].size
    # The largest sum fits uint32, for images of 4096 x 4096 pixels.
    mean = (grey.sum((1, 2, 3), jnp.uint32, keepdims=True) + size // 2) // size
    degenerate = jnp.where(choice.drew("color"), grey, 0)
    degenerate = jnp.where(choice.drew("contrast"), mean.astype(jnp.int32), degenerate)
    degenerate = jnp.where(choice.drew("sharpness"), smooth(pixels), degenerate)
    mixed = (factor * pixels + (ONE - factor) * degenerate) // ONE
    return mixed.clip(0, LEVELS - 1)


def to_grey(pixels: jax.Array) -> jax.Array:
    """Return grey images, int32 [B, height, width, 1], of int32 [B, height, width, channels]."""
    channels = pixels.shape[-1]
    weights = LUMA if channels == len(LUMA) else np.full(channels, 2**16 // channels)
    return (pixels * weights).sum(axis=-1, keepdims=True) >> 16


def smooth(pixels: jax.Array) -> jax.Array:
    """Return images smoothed by a filter of 3 x 3 pixels; pixels at the border stay as they are.

    Args:
      pixels: int32 [B, height, width, channels].
    """
    padded = jnp.pad(pixels, ((0, 0), (1, 1), (1, 1), (0, 0)))
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    neighbours = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
    smoothed = (neighbours + 4 * pixels + 6) // 13  # the filter of PIL: 5 in the middle, 1 around
    is_inner = np.zeros((*pixels.shape[1:3], 1), bool)
    is_inner[1:-1, 1:-1] = True
    return jnp.where(is_inner, smoothed, pixels)


def level_tables(choice: Choice, pixels: jax.Array) -> jax.Array:
    """Return the new level of each level, for autocontrast and for equalize.

    Args:
      choice: the operations of B images.
      pixels: int32 [B, height, width, channels].

    Returns:
      int32 [B, channels, LEVELS].
    """
    levels = jnp.arange(LEVELS)
    counts = histograms(pixels)
    low, high = (f(pixels, axis=(1, 2))[..., np.newaxis] for f in (jnp.min, jnp.max))
    stretched = (levels - low) * (LEVELS - 1) // jnp.maximum(high - low, 1)
    stretched = jnp.where(high > low, stretched.clip(0, LEVELS - 1), levels)
    below = jnp.cumsum(counts, axis=-1) - counts  # the number of pixels with a lower level
    step = jnp.take_along_axis(below, high, axis=-1) // (LEVELS - 1)
    equalized = (below + step // 2) // jnp.maximum(step, 1)
    equalized = jnp.where(step > 0, equalized.clip(0, LEVELS - 1), levels)
    return jnp.where(choice.drew("equalize")[..., 0], equalized, stretched)


def histograms(pixels: jax.Array) -> jax.Array:
    """Count the pixels of each level.

    A histogram is a matrix product: entry (a, b) counts the pixels whose upper four bits are a and
    whose lower four bits are b. XLA's CPU backend would add pixel after pixel otherwise.

    Args:
      pixels: int32 [B, height, width, channels].

    Returns:
      int32 [B, channels, LEVELS].
    """
    batch, _, _, channels = pixels.shape
    flat = jnp.moveaxis(pixels, -1, 1).reshape(batch * channels, 1, -1)
    digits = np.arange(16).reshape(-1, 1)
    upper, lower = ((part == digits).astype(jnp.float32) for part in (flat >> 4, flat & 15))
    counts = jnp.einsum("iap,ibp->iab", upper, lower)  # exact: factors of 0 and 1
    return counts.astype(jnp.int32).reshape(batch, channels, LEVELS)


def look_up(tables: jax.Array, pixels: jax.Array) -> jax.Array:
    """Look the levels of pixels up in the table of their image and channel.

    Args:
      tables: int32 [B, channels, LEVELS].
      pixels: int32 [B, height, width, channels].

    Returns:
      int32 [B, height, width, channels].
    """
    batch, channels, _ = tables.shape
    first = LEVELS * np.arange(batch * channels, dtype=np.int32).reshape(batch, 1, 1, channels)
    return tables.reshape(-1).at[first + pixels].get(mode="promise_in_bounds")
