"""Mixup (arXiv 1710.09412) and CutMix (arXiv 1905.04899): mixtures of two images and targets.

As in the authors' own code, one share is drawn for all images of a batch.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from vit_hk.params import AugmentSettings


class Mixture(NamedTuple):
    """The partners that images are mixed with."""

    labels: jax.Array  # int32 [B], labels of the partners
    share: jax.Array  # float32 [], share of each image itself, in [0, 1]


def mix_images(
    key: jax.Array, images: jax.Array, partners: jax.Array, settings: AugmentSettings
) -> tuple[jax.Array, jax.Array]:
    """Mix each image with its partner; where both methods are on, one is drawn for the batch.

    Args:
      key: a JAX random key.
      images: [B, height, width, channels].
      partners: the same shape.
      settings: `mixup` and `cutmix` are the α of Beta(α, α), from which the share of the image
        itself is drawn; 0 = off. At least one of them is on.

    Returns:
      Images of the same shape, and the share of the image itself in its mixture, in [0, 1].
    """
    coin_key, mixup_key, cutmix_key = jax.random.split(key, 3)
    if not settings.cutmix:
        return _mixup(mixup_key, images, partners, settings.mixup)
    cut, cut_share = _cutmix(cutmix_key, images, partners, settings.cutmix)
    if not settings.mixup:
        return cut, cut_share
    mixed, mixed_share = _mixup(mixup_key, images, partners, settings.mixup)
    coin = jax.random.bernoulli(coin_key)
    return jnp.where(coin, mixed, cut), jnp.where(coin, mixed_share, cut_share)


def mix_targets(targets: jax.Array, partners: jax.Array, share: jax.Array) -> jax.Array:
    """Return the targets of mixtures, float32 [B, C], from those of the images and partners."""
    return share * targets + (1 - share) * partners


def _mixup(
    key: jax.Array, images: jax.Array, partners: jax.Array, alpha: float
) -> tuple[jax.Array, jax.Array]:
    share = _draw_share(key, alpha)
    return share * images + (1 - share) * partners, share


def _cutmix(
    key: jax.Array, images: jax.Array, partners: jax.Array, alpha: float
) -> tuple[jax.Array, jax.Array]:
    """Replace a rectangle of the image by that of the partner; it is cut off at the border."""
    share_key, place_key = jax.random.split(key)
    _, height, width, _ = images.shape
    side = jnp.sqrt(1 - _draw_share(share_key, alpha))  # as a share of the image's side
    row, column = jax.random.uniform(place_key, (2,))  # of the centre
    rows = jnp.abs((jnp.arange(height) + 0.5) / height - row) < side / 2
    columns = jnp.abs((jnp.arange(width) + 0.5) / width - column) < side / 2
    inside = rows[:, jnp.newaxis] & columns
    return jnp.where(inside[..., jnp.newaxis], partners, images), 1 - inside.mean()


def _draw_share(key: jax.Array, alpha: float) -> jax.Array:
    """Draw a share from Beta(α, α); in float32 an α below 1e-6 would give NaN instead of 0 or 1."""
    alpha = max(alpha, 1e-6)
    return jax.random.beta(key, alpha, alpha)
