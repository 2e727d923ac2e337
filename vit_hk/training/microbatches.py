"""The microbatches of a batch, ready for the model: augmented, mixed and normalized.

They are prepared in a separate loop, where all augmentation takes a twentieth of a step. Inside the
loop that computes gradients, XLA would fuse the preparation with the operations that read the
images, and compute them again for each: a quarter of a step.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from vit_hk.data.normalization import Normalization
from vit_hk.model.random_keys import derive
from vit_hk.params import AugmentSettings
from vit_hk.runtime.batch_layout import AXIS, BatchLayout
from vit_hk.training.augment import augment
from vit_hk.training.device_data import DeviceData
from vit_hk.training.mixing import Mixture, mix_images, mix_targets


class Microbatch(NamedTuple):
    """A microbatch of B images, which a device processes at a time.

    All microbatches of a device are one Microbatch whose arrays have a leading axis
    [num_microbatches].
    """

    images: jax.Array  # float32 [B, height, width, channels]
    labels: jax.Array  # int32 [B]
    mixture: Mixture | None  # None where images are not mixed
    keys: jax.Array  # [B], a JAX random key for each image, for dropout and drop path

    def targets(self, num_classes: int) -> jax.Array:
        """Return the probabilities of the classes of one microbatch, float32 [B, C]."""
        targets = jax.nn.one_hot(self.labels, num_classes)
        if self.mixture is None:
            return targets
        partners = jax.nn.one_hot(self.mixture.labels, num_classes)
        return mix_targets(targets, partners, self.mixture.lam)


def prepare_microbatches(
    key: jax.Array,
    own: DeviceData,
    settings: AugmentSettings,
    normalization: Normalization,
    layout: BatchLayout,
) -> Microbatch:
    """Prepare the microbatches of the device that runs this function, inside jax.shard_map.

    An image is mixed with the one before it in the batch, whose order is random. That partner is
    augmented with other random numbers than where it is an image of the batch itself.

    Args:
      key: JAX random key of the batch.
      own: the device's images of the batch, after the one before them; see `take_images`.
      settings: settings of the augmentation.
      normalization: normalization of the images.
      layout: layout of the batch.

    Returns:
      Arrays with a leading axis [num_microbatches].
    """
    # Image i folds in i, which is smaller than the batch size.
    mix_key = jax.random.fold_in(key, layout.batch_size)
    size = layout.microbatch_size
    first_place = jax.lax.axis_index(AXIS) * layout.num_microbatches * size  # in the batch

    def prepare(start: jax.Array) -> Microbatch:
        images, partners = _slice(own, start + 1, size), _slice(own, start, size)
        places = first_place + start + jnp.arange(size)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, places)
        own_keys, model_keys, partner_keys = (derive(keys, use) for use in range(3))
        pixels = augment(own_keys, images.images, settings)
        mixture = None
        if settings.mixes:
            partner_pixels = augment(partner_keys, partners.images, settings)
            pixels, lam = mix_images(mix_key, pixels, partner_pixels, settings)
            mixture = Mixture(partners.labels, lam)
        return Microbatch(normalization(pixels), images.labels, mixture, model_keys)

    return jax.lax.map(prepare, jnp.arange(layout.num_microbatches) * size)


def _slice(data: DeviceData, start: jax.Array, size: int) -> DeviceData:
    return jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, start, size), data)
