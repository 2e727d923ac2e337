"""The training images that the devices hold, and those that a device processes in a step."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from vit_hk.runtime.batch_layout import AXIS


class DeviceData(NamedTuple):
    """Images and labels on the devices."""

    images: jax.Array  # uint8 [images, height, width, channels]
    labels: jax.Array  # int32 [images]


class CallInputs(NamedTuple):
    """What the compiled loop needs for consecutive steps of one epoch; see `vit_hk.training.feed`.

    The shapes are those that a device sees inside jax.shard_map.
    """

    data: DeviceData  # images and labels that the device holds
    # int32 [steps, 1 + images per device]. A row holds the indices of the images that the device
    # processes in a step, in its own data or in that of all devices. The first index is that of the
    # image before them in the batch, with which the first of them is mixed.
    rows: jax.Array
    start: jax.Array  # int32 [], the first step
    stop: jax.Array  # int32 [], the step after the last one


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
        # Only the device that holds an image adds its pixels; all others add 0.
        return jax.lax.psum_scatter(jnp.where(mask, found, 0), AXIS)

    return jax.tree.map(exchange, data)
