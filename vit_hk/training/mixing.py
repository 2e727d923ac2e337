"""Mixup (arXiv 1710.09412) and CutMix (arXiv 1905.04899): images of two, targets of two.

As in the authors' own code, a batch draws one share. The partner of an image is the one
before it in the batch, whose order is random already.
"""

import jax
import jax.numpy as jnp

from vit_hk.params import AugmentSettings


def mix_images(
    key: jax.Array, images: jax.Array, settings: AugmentSettings
) -> tuple[jax.Array, jax.Array | float]:
    """Mix each image with its partner; where both ways are on, a coin decides for the batch.

    Args:
      key: a JAX random key.
      images: [B, height, width, channels].
      settings: `mixup` and `cutmix` are the parameter of Beta(α, α), of which the share of the
        image itself is drawn; 0 = off.

    Returns:
      Images of the same shape, and the share of the image itself in its mixture, in [0, 1].
    """
    coin_key, mixup_key, cutmix_key = jax.random.split(key, 3)
    if not settings.cutmix:
        return _mixup(mixup_key, images, settings.mixup) if settings.mixup else (images, 1.0)
    cut, cut_share = _cutmix(cutmix_key, images, settings.cutmix)
    if not settings.mixup:
        return cut, cut_share
    mixed, mixed_share = _mixup(mixup_key, images, settings.mixup)
    coin = jax.random.bernoulli(coin_key)
    return jnp.where(coin, mixed, cut), jnp.where(coin, mixed_share, cut_share)


def mix_targets(targets: jax.Array, share: jax.Array | float) -> jax.Array:
    """The targets float32 [B, C] of images that `mix_images` mixed in this share."""
    return share * targets + (1 - share) * _partner(targets)


def _partner(x: jax.Array) -> jax.Array:
    return jnp.roll(x, 1, axis=0)


def _mixup(key: jax.Array, images: jax.Array, alpha: float) -> tuple[jax.Array, jax.Array]:
    share = _draw_share(key, alpha)
    return share * images + (1 - share) * _partner(images), share


def _cutmix(key: jax.Array, images: jax.Array, alpha: float) -> tuple[jax.Array, jax.Array]:
    """Put a rectangle of the partner into the image; the part outside the image is lost."""
    share_key, place_key = jax.random.split(key)
    _, height, width, _ = images.shape
    side = jnp.sqrt(1 - _draw_share(share_key, alpha))  # as a part of the image's side
    row, column = jax.random.uniform(place_key, (2,))  # of the middle
    rows = jnp.abs((jnp.arange(height) + 0.5) / height - row) < side / 2
    columns = jnp.abs((jnp.arange(width) + 0.5) / width - column) < side / 2
    inside = rows[:, jnp.newaxis] & columns
    mixed = jnp.where(inside[..., jnp.newaxis], _partner(images), images)
    return mixed, 1 - inside.mean()


def _draw_share(key: jax.Array, alpha: float) -> jax.Array:
    """Of Beta(α, α). In float32 a smaller α would draw what is no number; this draws 0 or 1."""
    alpha = max(alpha, 1e-6)
    return jax.random.beta(key, alpha, alpha)
