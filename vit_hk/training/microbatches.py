"""The microbatches of a batch, ready for the model: augmented, mixed and normalized.

They are prepared in a separate loop, where all augmentation takes a twentieth of a step. Inside the
loop that computes gradients, XLA would fuse the preparation with the operations that read the
images, and compute them again for each: a quarter of a step.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from vit_hk.data.normalization import Normalization
from vit_hk.params import AugmentSettings
from vit_hk.runtime.batch_layout import AXIS, BatchLayout
from vit_hk.training.augment import augment
from vit_hk.training.mixing import Mixture, mix_images, mix_targets


class DeviceData(NamedTuple):
    """All training images and labels, replicated on the devices."""

    images: jax.Array  # uint8 [images, height, width, channels]
    labels: jax.Array  # int32 [images]


class Microbatch(NamedTuple):
    """A microbatch of B images, which a device processes at a time.

    All microbatches of a device are one Microbatch whose arrays have a leading axis
    [num_microbatches].
    """

    images: jax.Array  # float32 [B, height, width, channels]
    labels: jax.Array  # int32 [B]
    mixture: Mixture | None  # None where images are not mixed
    key: jax.Array  # JAX random key of the model, []

    def targets(self, num_classes: int) -> jax.Array:
        """Return the probabilities of the classes of one microbatch, float32 [B, C]."""
        targets = jax.nn.one_hot(self.labels, num_classes)
        if self.mixture is None:
            return targets
        partners = jax.nn.one_hot(self.mixture.labels, num_classes)
        return mix_targets(targets, partners, self.mixture.lam)


def prepare_microbatches(
    key: jax.Array,
    data: DeviceData,
    indices: jax.Array,
    settings: AugmentSettings,
    normalization: Normalization,
    layout: BatchLayout,
) -> Microbatch:
    """Prepare the microbatches of the device that runs this function, inside jax.shard_map.

    An image is mixed with the one before it in the batch, whose order is random. That partner is
    augmented with other random numbers than where it is an image of the batch itself.

    Args:
      key: JAX random key of the batch.
      data: all training images and labels.
      indices: int32 [batch_size], the images of the batch.
      settings: settings of the augmentation.
      normalization: normalization of the images.
      layout: layout of the batch.

    Returns:
      Arrays with a leading axis [num_microbatches].
    """
    partner_indices = jnp.roll(indices, 1)
    # Microbatches fold in their number, which is smaller than the batch size.
    mix_key = jax.random.fold_in(key, layout.batch_size)

    def prepare(number: jax.Array) -> Microbatch:
        own, partners = (
            jax.lax.dynamic_slice(
                all_indices, (number * layout.microbatch_size,), (layout.microbatch_size,)
            )
            for all_indices in (indices, partner_indices)
        )
        own_key, model_key, partner_key = jax.random.split(jax.random.fold_in(key, number), 3)
        images = augment(own_key, data.images[own], settings)
        mixture = None
        if settings.mixes:
            partner_images = augment(partner_key, data.images[partners], settings)
            images, lam = mix_images(mix_key, images, partner_images, settings)
            mixture = Mixture(data.labels[partners], lam)
        return Microbatch(normalization(images), data.labels[own], mixture, model_key)

    first = jax.lax.axis_index(AXIS) * layout.num_microbatches
    return jax.lax.map(prepare, first + jnp.arange(layout.num_microbatches))
