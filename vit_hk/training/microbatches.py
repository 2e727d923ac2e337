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
from vit_hk.training.mixing import Mixture, mix_images, mix_targets


class DeviceData(NamedTuple):
    """Images and labels on the devices."""

    images: jax.Array  # uint8 [images, height, width, channels]
    labels: jax.Array  # int32 [images]


class CallInputs(NamedTuple):
    """What the compiled loop needs for consecutive steps of one epoch; see `vit_hk.training.feed`.

    The shapes are those that a device sees inside jax.shard_map.
    """

    data: DeviceData  # images and labels that the device holds
    # int32 [steps, 1 + images per device], the images that the device processes in each step, as
    # indices of its own data (or of that of all devices), after the image before them in the batch
    rows: jax.Array
    first: jax.Array  # int32 [], the number of the first step
    last: jax.Array  # int32 [], the number of the step after the last


def take_images(data: DeviceData, rows: jax.Array, is_sharded: bool) -> DeviceData:
    """Return the images of some rows on the device that runs this function, inside jax.shard_map.

    Args:
      data: the images and labels of the device.
      rows: int32 [images].
      is_sharded: False where `rows` are indices of the device's own data. True where each device
        holds an equal part of all data, and `rows` are indices of the whole.
    """
    if not is_sharded:
        return jax.tree.map(lambda held: held[rows], data)
    num_held = len(data.labels)
    wanted = jax.lax.all_gather(rows, AXIS)  # [devices, images]
    local = wanted - jax.lax.axis_index(AXIS) * num_held
    is_held = (local >= 0) & (local < num_held)

    def exchange(held: jax.Array) -> jax.Array:
        found = held[local.clip(0, num_held - 1)]
        mask = is_held.reshape(*is_held.shape, *[1] * (held.ndim - 1))
        # One device alone adds another value than 0.
        return jax.lax.psum_scatter(jnp.where(mask, found, 0), AXIS)

    return jax.tree.map(exchange, data)


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

    def take(start: jax.Array) -> DeviceData:
        size = layout.microbatch_size
        return jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, start, size), own)

    # Images fold in their place in the batch, which is smaller than the batch size.
    mix_key = jax.random.fold_in(key, layout.batch_size)

    def prepare(number: jax.Array) -> Microbatch:
        start = (number - first) * layout.microbatch_size
        own, partners = take(start + 1), take(start)
        places = number * layout.microbatch_size + jnp.arange(layout.microbatch_size)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, places)
        own_keys, model_keys, partner_keys = (derive(keys, use) for use in range(3))
        images = augment(own_keys, own.images, settings)
        mixture = None
        if settings.mixes:
            partner_images = augment(partner_keys, partners.images, settings)
            images, lam = mix_images(mix_key, images, partner_images, settings)
            mixture = Mixture(partners.labels, lam)
        return Microbatch(normalization(images), own.labels, mixture, model_keys)

    first = jax.lax.axis_index(AXIS) * layout.num_microbatches
    return jax.lax.map(prepare, first + jnp.arange(layout.num_microbatches))
