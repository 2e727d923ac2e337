"""The layout of a batch: over the devices of a mesh, and in time as microbatches.

Cores that share every matrix product wait for each other at each one, and read data that the other
core has just written. So on a CPU each core is a device with its own images, and processes them
in microbatches, whose activations stay in its L2 cache unless the model is wide. That way two cores
train the benchmark's size S 1.5 times as fast, and size M 1.2 times as fast.
"""

import math
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vit_hk.errors import UserError

AXIS = "data"  # name of the only axis of the mesh


class MicrobatchTokens(NamedTuple):
    """Tokens of a microbatch on one core, for hidden sizes up to MAX_NARROW_SIZE, and above."""

    narrow: int
    wide: int


# Measured with hidden sizes of 64 to 128, and of 192 to 384. With fewer tokens the overhead of each
# operation dominates, with more the activations of a narrow model do not stay in L2. Of a wide one
# neither activations nor weights do, and larger microbatches read the weights less often.
MAX_NARROW_SIZE = 128
TRAINING_TOKENS = MicrobatchTokens(narrow=224, wide=448)
INFERENCE_TOKENS = MicrobatchTokens(narrow=256, wide=1024)
# Tokens of a device, below which many cores would wait for each other longer than they compute.
# Measured with two cores only.
MIN_TOKENS_PER_DEVICE = 32


class BatchLayout(NamedTuple):
    """A batch, sharded over the devices of a mesh; each shard is a sequence of microbatches."""

    mesh: Mesh
    num_microbatches: int  # of each device, processed one after the other
    microbatch_size: int  # images that a device processes at a time

    @property
    def batch_size(self) -> int:
        """The number of images of a batch."""
        return self.mesh.size * self.num_microbatches * self.microbatch_size

    @property
    def devices_per_memory(self) -> int:
        """The number of devices that share a memory: a process's cores do, each GPU has its own."""
        if self.mesh.devices.flat[0].platform != "cpu":
            return 1
        return sum(d.process_index == jax.process_index() for d in self.mesh.devices.flat)

    @property
    def images_per_memory(self) -> int:
        """The number of images that are processed in one memory at the same time."""
        return self.devices_per_memory * self.microbatch_size

    @property
    def batch_images_per_memory(self) -> int:
        """The number of images of a batch whose pixels are in one memory."""
        return self.num_microbatches * self.images_per_memory

    def __str__(self) -> str:
        """Describe the layout, which does not depend on how devices are spread over processes."""
        platform = self.mesh.devices.flat[0].platform
        return (
            f"{self.mesh.size} x {platform}, each {self.num_microbatches} microbatches of "
            f"{self.microbatch_size} images"
        )

    @property
    def replicated(self) -> NamedSharding:
        """The sharding of an array that each device holds whole."""
        return NamedSharding(self.mesh, PartitionSpec())


def layout_for_training(batch_size: int, num_tokens: int, hidden_size: int) -> BatchLayout:
    """Lay out a training batch of exactly `batch_size` images, on as many devices as divide it.

    Args:
      batch_size: number of images.
      num_tokens: T.
      hidden_size: D.

    Raises:
      UserError: there are several processes, and not all of their devices divide it.
    """
    max_devices = max(1, batch_size * num_tokens // MIN_TOKENS_PER_DEVICE)
    num_devices = max(_divisors(batch_size, min(jax.device_count(), max_devices)))
    per_device = batch_size // num_devices
    target = _microbatch_size(per_device, TRAINING_TOKENS, num_tokens, hidden_size)
    # The divisor nearest in ratio: half of the target is as far from it as twice the target.
    size = min(_divisors(per_device, per_device), key=lambda n: abs(math.log(n / target)))
    return BatchLayout(_mesh(num_devices), per_device // size, size)


def layout_for_inference(batch_size: int, num_tokens: int, hidden_size: int) -> BatchLayout:
    """Lay out an inference batch of `batch_size` images, or of a few more, which are padding.

    Args:
      batch_size: number of images.
      num_tokens: T.
      hidden_size: D.
    """
    num_devices = min(jax.device_count(), batch_size)
    per_device = math.ceil(batch_size / num_devices)
    target = _microbatch_size(per_device, INFERENCE_TOKENS, num_tokens, hidden_size)
    max_size = math.floor(target)
    num_microbatches = math.ceil(per_device / max_size)
    microbatch_size = math.ceil(per_device / num_microbatches)
    return BatchLayout(_mesh(num_devices), num_microbatches, microbatch_size)


def _microbatch_size(
    per_device: int, tokens: MicrobatchTokens, num_tokens: int, hidden_size: int
) -> float:
    """Return how many of a device's images it should process at a time; a GPU takes all."""
    if jax.default_backend() != "cpu":
        return per_device
    target = tokens.narrow if hidden_size <= MAX_NARROW_SIZE else tokens.wide
    return min(per_device, max(1.0, target / num_tokens))


def _divisors(number: int, maximum: int) -> list[int]:
    """Return the divisors of a number from 1 to `maximum`."""
    return [n for n in range(1, maximum + 1) if number % n == 0]


def _mesh(num_devices: int) -> Mesh:
    if num_devices < jax.device_count() and jax.process_count() > 1:
        raise UserError(
            f"{jax.process_count()} processes have {jax.device_count()} devices, but a batch can "
            f"be sharded over {num_devices} only; use fewer processes, or in params.yaml a larger "
            "batch_size that is a multiple of the number of devices"
        )
    return Mesh(np.array(jax.devices()[:num_devices]), (AXIS,))
