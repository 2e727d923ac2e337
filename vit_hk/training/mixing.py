"""Mixup (arXiv 1710.09412) and CutMix (arXiv 1905.04899): mixtures of two images and targets.

λ is the share of the image itself, as in both papers; 1 - λ is that of its partner. As in the
authors' own code, one λ is drawn for all images of a batch.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from vit_hk.params import AugmentSettings


class Mixture(NamedTuple):
    """The labels of the partners that B images are mixed with, and λ."""

    labels: jax.Array  # int32 [B], labels of the partners
    lam: jax.Array  # float32 [], λ in [0, 1], the share of each image itself


def mix_images(
    key: jax.Array, images: jax.Array, partners: jax.Array, settings: AugmentSettings
) -> tuple[jax.Array, jax.Array]:
    """Mix each image with its partner; where both methods are on, one is drawn for the batch.

    Args:
      key: a JAX random key.
      images: [B, height, width, channels].
      partners: images of the same shape.
      settings: `mixup` and `cutmix` are the α of Beta(α, α), from which λ is drawn; 0 = off. At
        least one of them is on.

    Returns:
      Images [B, height, width, channels], and λ, float32 [], in [0, 1].
    """
    coin_key, mixup_key, cutmix_key = jax.random.split(key, 3)
    if not settings.cutmix:
        return _mixup(mixup_key, images, partners, settings.mixup)
    cut, cut_lam = _cutmix(cutmix_key, images, partners, settings.cutmix)
    if not settings.mixup:
        return cut, cut_lam
    mixed, mixed_lam = _mixup(mixup_key, images, partners, settings.mixup)
    coin = jax.random.bernoulli(coin_key)
    return jnp.where(coin, mixed, cut), jnp.where(coin, mixed_lam, cut_lam)


def mix_targets(targets: jax.Array, partners: jax.Array, lam: jax.Array) -> jax.Array:
    """Return the targets of mixtures, float32 [B, C].

    Args:
      targets: float32 [B, C], targets of the images.
      partners: float32 [B, C], targets of their partners.
      lam: λ, float32 [].
    """
    return lam * targets + (1 - lam) * partners


def _mixup(
    key: jax.Array, images: jax.Array, partners: jax.Array, alpha: float
) -> tuple[jax.Array, jax.Array]:
    lam = _draw_lambda(key, alpha)
    return lam * images + (1 - lam) * partners, lam


def _cutmix(
    key: jax.Array, images: jax.Array, partners: jax.Array, alpha: float
) -> tuple[jax.Array, jax.Array]:
    """Replace a rectangle of each image by that of its partner, clipped at the border.

    λ is the share of the pixels that are not replaced; clipping makes it larger than the drawn one.
    """
    lambda_key, center_key = jax.random.split(key)
    _, height, width, _ = images.shape
    side = jnp.sqrt(1 - _draw_lambda(lambda_key, alpha))  # as a share of the image's side
    row, column = jax.random.uniform(center_key, (2,))  # of the centre, as shares of the sides
    rows = jnp.abs((jnp.arange(height) + 0.5) / height - row) < side / 2
    columns = jnp.abs((jnp.arange(width) + 0.5) / width - column) < side / 2
    inside = rows[:, jnp.newaxis] & columns
    return jnp.where(inside[..., jnp.newaxis], partners, images), 1 - inside.mean()


def _draw_lambda(key: jax.Array, alpha: float) -> jax.Array:
    """Draw λ from Beta(α, α), float32 []."""
    alpha = max(alpha, 1e-6)  # below, float32 rounding would give NaN instead of 0 or 1
    return jax.random.beta(key, alpha, alpha)
