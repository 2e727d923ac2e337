"""An all-reduce whose result does not depend on how the devices are spread over processes."""

import jax
import jax.numpy as jnp

from vit_hk.runtime.batch_layout import AXIS


def all_reduce(vector: jax.Array, num_devices: int) -> jax.Array:
    """Sum a vector over all devices, in the order of the devices, inside jax.shard_map.

    `jax.lax.psum` leaves the order of the additions to the backend, and with more than two summands
    the bits of a floating-point sum depend on it: two processes of two devices would train another
    model than one process of four. Here each device adds up a part of the vector (reduce-scatter),
    then all parts are gathered (all-gather). That is the traffic of a ring all-reduce.

    Args:
      vector: float32 [length], this device's summand.
      num_devices: number of devices of the mesh.

    Returns:
      float32 [length], the same on all devices.
    """
    if num_devices <= 2:  # the sum of two numbers does not depend on their order
        return jax.lax.psum(vector, AXIS)
    (length,) = vector.shape
    padded = jnp.pad(vector, (0, -length % num_devices))
    summands = jax.lax.all_to_all(padded.reshape(num_devices, -1), AXIS, 0, 0)
    # A loop, since XLA adds up the rows of `summands.sum(axis=0)` in an order of its own.
    total = jax.lax.fori_loop(1, num_devices, lambda i, total: total + summands[i], summands[0])
    return jax.lax.all_gather(total, AXIS, tiled=True)[:length]
