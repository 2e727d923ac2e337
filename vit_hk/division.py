"""How the images of a batch are divided: over devices, and on a CPU into pieces for each core.

Cores that share one matrix product after the other wait for each other, and read what the
other has written. So on a CPU each core is a device with images of its own, which it takes in
pieces whose numbers stay in its cache: 2 cores train the benchmark's model S 1.5 times as fast, M
1.2 times.
"""

import contextlib
import math
import os
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

# Of a core, measured with 64 to 128 numbers a token. Of fewer, starting an operation costs too much
# beside its work; of more, their numbers do not stay in the cache.
TOKENS_OF_STEP, TOKENS_OF_PREDICTION = 224, 256
# Of a device, else many cores would wait for each other longer than they compute. A guess: no more
# than two cores were at hand.
FEWEST_TOKENS = 32
# Of a container: microseconds that all its cores together may work in each period, and the period.
CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")


class Division(NamedTuple):
    """A batch is shared out evenly over the devices of a mesh, whose one axis is "batch"."""

    mesh: Mesh
    pieces: int  # that a device takes one after the other
    piece: int  # images of one

    @property
    def images(self) -> int:
        """Of a batch."""
        return self.mesh.size * self.pieces * self.piece

    @property
    def sharing_memory(self) -> int:
        """Devices: all cores share one memory, each GPU has its own."""
        return self.mesh.size if self.mesh.devices.flat[0].platform == "cpu" else 1

    @property
    def images_at_a_time(self) -> int:
        """In one memory."""
        return self.sharing_memory * self.piece

    @property
    def everywhere(self) -> NamedSharding:
        """Of an array that each device has as a whole."""
        return NamedSharding(self.mesh, PartitionSpec())


def make_each_core_a_device() -> None:
    """To be called before JAX is started. A number that the user has set for JAX stays."""
    if "JAX_NUM_CPU_DEVICES" not in os.environ:
        jax.config.update("jax_num_cpu_devices", usable_cores())


def usable_cores() -> int:
    """Cores that this process may use; as many as do the work that a container is allowed."""
    linux = hasattr(os, "sched_getaffinity")  # tells of a process that is held to some cores
    cores = len(os.sched_getaffinity(0)) if linux else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):  # "max" is no number: no limit
        quota, period = map(int, CPU_QUOTA.read_text("ascii").split())
        cores = min(cores, math.ceil(quota / period))
    return cores


def divide_for_step(batch_size: int, tokens: int) -> Division:
    """Divide a batch of exactly so many images, of so many tokens each.

    As many devices take part as can have equal shares.
    """
    enough = max(1, batch_size * tokens // FEWEST_TOKENS)
    count = max(_divisors(batch_size, min(jax.device_count(), enough)))
    share = batch_size // count
    wanted = _images_at_a_time(share, TOKENS_OF_STEP / tokens)
    piece = min(_divisors(share, share), key=lambda n: abs(math.log(n / wanted)))
    return Division(_mesh(count), share // piece, piece)


def divide_for_prediction(batch_size: int, tokens: int) -> Division:
    """Divide a batch of so many images of so many tokens, or of a few more."""
    count = min(jax.device_count(), batch_size)
    share = math.ceil(batch_size / count)
    piece = math.floor(_images_at_a_time(share, TOKENS_OF_PREDICTION / tokens))
    return Division(_mesh(count), math.ceil(share / piece), piece)


def _images_at_a_time(share: int, fit: float) -> float:
    return min(share, max(1.0, fit)) if jax.default_backend() == "cpu" else share


def _divisors(number: int, largest: int) -> list[int]:
    return [n for n in range(1, largest + 1) if number % n == 0]


def _mesh(count: int) -> Mesh:
    return Mesh(np.array(jax.devices()[:count]), ("batch",))
