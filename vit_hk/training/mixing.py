"""Mixup (arXiv 1710.09412) and CutMix (arXiv 1905.04899): images of two, targets of two.

As in the authors' own code, one share is drawn for all images of a batch.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from vit_hk.params import AugmentSettings


class Mixture(NamedTuple):
    """What images are mixed with."""

    labels: jax.Array  # int32 [B], of the partners
    share: jax.Array  # float32 [], of each image itself, in [0, 1]


def mix_images(
    key: jax.Array, images: jax.Array, partners: jax.Array, settings: AugmentSettings
) -> tuple[jax.Array, jax.Array]:
    """Mix each image with its partner; where both ways are on, a coin decides for all of them.

    Args:
      key: a JAX random key.
      images: [B, height, width, channels].
      partners: the same shape.
      settings: `mixup` and `cutmix` are the parameter of Beta(α, α), of which the share of the
        image itself is drawn; 0 = off. One of them is on.

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
    """The targets float32 [B, C] of mixtures, from those of the images and of their partners."""
    return share * targets + (1 - share) * partners


def _mixup(
    key: jax.Array, images: jax.Array, partners: jax.Array, alpha: float
) -> tuple[jax.Array, jax.Array]:
    share = _draw_share(key, alpha)
    return share * images + (1 - share) * partners, share


def _cutmix(
    key: jax.Array, images: jax.Array, partners: jax.Array, alpha: float
) -> tuple[jax.Array, jax.Array]:
    """Put a rectangle of the partner into the image; the part outside the image is lost."""
    share_key, place_key = jax.random.split(key)
    _, height, width, _ = images.shape
    side = jnp.sqrt(1 - _draw_share(share_key, alpha))  # as a part of the image's side
    row, column = jax.random.uniform(place_key, (2,))  # of the middle
    rows = jnp.abs((jnp.arange(height) + 0.5) / height - row) < side / 2
    columns = jnp.abs((jnp.arange(width) + 0.5) / width - column) < side / 2
    inside = rows[:, jnp.newaxis] & columns
    return jnp.where(inside[..., jnp.newaxis], partners, images), 1 - inside.mean()


def _draw_share(key: jax.Array, alpha: float) -> jax.Array:
    """Of Beta(α, α). In float32 a smaller α would draw what is no number; this draws 0 or 1."""
    alpha = max(alpha, 1e-6)
    return jax.random.beta(key, alpha, alpha)
