"""The pieces of a batch, as the model takes them: augmented, mixed and normalised.

They are prepared in a loop of their own, and all augmentation takes a twentieth of a step. Where
XLA can see who reads the images, it computes them anew for each reader: that took a quarter.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from vit_hk.dataset import normalize
from vit_hk.division import Division
from vit_hk.params import AugmentSettings
from vit_hk.training.augment import augment
from vit_hk.training.mixing import Mixture, mix_images, mix_targets


class Split(NamedTuple):
    """Images and labels on the device."""

    images: jax.Array  # uint8 [N, height, width, channels]
    labels: jax.Array  # int32 [N]


class Piece(NamedTuple):
    """What a device takes at a time; with one more axis in front, all its pieces of a batch."""

    images: jax.Array  # float32 [B, height, width, channels]
    labels: jax.Array  # int32 [B]
    mixture: Mixture | None  # None where images are not mixed
    key: jax.Array  # of the model's random numbers

    def targets(self, num_classes: int) -> jax.Array:
        """The probabilities of the classes, float32 [B, C], of one piece."""
        own = jax.nn.one_hot(self.labels, num_classes)
        if self.mixture is None:
            return own
        partners = jax.nn.one_hot(self.mixture.labels, num_classes)
        return mix_targets(own, partners, self.mixture.share)


def prepare_pieces(
    key: jax.Array,
    split: Split,
    chosen: jax.Array,
    settings: AugmentSettings,
    mean: list[float],
    std: list[float],
    division: Division,
) -> Piece:
    """The pieces of the device that computes this, each with random numbers of its own.

    An image is mixed with the one before it in the batch, whose order is random; that one is
    augmented anew.

    Args:
      key: of the batch's random numbers.
      split: all images.
      chosen: int [images of a batch], the numbers of its images.
      settings: of the augmentation.
      mean: of each channel of the images, on the scale 0 to 1.
      std: the same.
      division: of the batch.
    """
    before = jnp.roll(chosen, 1)
    mix_key = jax.random.fold_in(key, division.images)  # a number that no piece has

    def prepare(number: jax.Array) -> Piece:
        some, others = (
            jax.lax.dynamic_slice(batch, (number * division.piece,), (division.piece,))
            for batch in (chosen, before)
        )
        own_key, model_key, other_key = jax.random.split(jax.random.fold_in(key, number), 3)
        images = augment(own_key, split.images[some], settings)
        mixture = None
        if settings.mixes:
            partners = augment(other_key, split.images[others], settings)
            images, share = mix_images(mix_key, images, partners, settings)
            mixture = Mixture(split.labels[others], share)
        scaled = normalize(images, jnp.float32(mean), jnp.float32(std))
        return Piece(scaled, split.labels[some], mixture, model_key)

    numbers = jax.lax.axis_index("batch") * division.pieces + jnp.arange(division.pieces)
    return jax.lax.map(prepare, numbers)
