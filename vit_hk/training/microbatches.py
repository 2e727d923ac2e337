"""The microbatches of a batch, as the model takes them: augmented, mixed and normalized.

They are prepared in a loop of their own, and all augmentation takes a twentieth of a step. Where
XLA can fuse the preparation with its uses, it computes the images again for each use: that took a
quarter of a step.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from vit_hk.data.normalization import Normalization
from vit_hk.params import AugmentSettings
from vit_hk.runtime.batch_layout import AXIS, BatchLayout
from vit_hk.training.augment import augment
from vit_hk.training.mixing import Mixture, mix_images, mix_targets


class Split(NamedTuple):
    """All training images and labels, on the devices."""

    images: jax.Array  # uint8 [N, height, width, channels]
    labels: jax.Array  # int32 [N]


class Microbatch(NamedTuple):
    """What a device processes at a time; with a leading axis, all its microbatches of a batch."""

    images: jax.Array  # float32 [B, height, width, channels]
    labels: jax.Array  # int32 [B]
    mixture: Mixture | None  # None where images are not mixed
    key: jax.Array  # JAX random key for the model

    def targets(self, num_classes: int) -> jax.Array:
        """Return the probabilities of the classes of one microbatch, float32 [B, C]."""
        targets = jax.nn.one_hot(self.labels, num_classes)
        if self.mixture is None:
            return targets
        partners = jax.nn.one_hot(self.mixture.labels, num_classes)
        return mix_targets(targets, partners, self.mixture.share)


def prepare_microbatches(
    key: jax.Array,
    split: Split,
    indices: jax.Array,
    settings: AugmentSettings,
    normalization: Normalization,
    layout: BatchLayout,
) -> Microbatch:
    """Prepare the microbatches of the device that runs this, with random numbers of their own.

    An image is mixed with the one before it in the batch, whose order is random; its partner is
    augmented anew.

    Args:
      key: JAX random key of the batch.
      split: all training images and labels.
      indices: int32 [batch_size], the images of the batch.
      settings: settings of the augmentation.
      normalization: scale of the images.
      layout: layout of the batch.
    """
    partner_indices = jnp.roll(indices, 1)
    mix_key = jax.random.fold_in(key, layout.batch_size)  # a number that no microbatch has

    def prepare(number: jax.Array) -> Microbatch:
        own, partners = (
            jax.lax.dynamic_slice(
                all_indices, (number * layout.microbatch_size,), (layout.microbatch_size,)
            )
            for all_indices in (indices, partner_indices)
        )
        own_key, model_key, partner_key = jax.random.split(jax.random.fold_in(key, number), 3)
        images = augment(own_key, split.images[own], settings)
        mixture = None
        if settings.mixes:
            partner_images = augment(partner_key, split.images[partners], settings)
            images, share = mix_images(mix_key, images, partner_images, settings)
            mixture = Mixture(split.labels[partners], share)
        return Microbatch(normalization(images), split.labels[own], mixture, model_key)

    first = jax.lax.axis_index(AXIS) * layout.num_microbatches
    return jax.lax.map(prepare, first + jnp.arange(layout.num_microbatches))
