"""How training images reach the devices: all of them at once, or those of each call, read ahead.

A call is one run of the compiled loop over consecutive steps of an epoch. Both ways give each step
the same images, and so the same bytes of weights.
"""

import math
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from vit_hk.data.image_rows import ImageArray
from vit_hk.runtime.aligned import aligned_empty
from vit_hk.runtime.batch_layout import AXIS, BatchLayout
from vit_hk.runtime.memory import free_bytes, free_host_bytes
from vit_hk.runtime.prefetch import prefetch_one
from vit_hk.training.data import TrainingData
from vit_hk.training.device_data import CallInputs, DeviceData

# The share of the free memory that all training images may take. Reading ahead is as fast, so most
# memory is left to activations, and to other programs.
MEMORY_SHARE = 0.25
# Between two calls the progress bar moves and a request to stop is handled. With 20 calls both
# happen within a twentieth of an epoch; more would only add the cost of calls.
MIN_CALLS_PER_EPOCH = 20
CHUNK_BYTES = 2**27  # of the images of a call, about; those of two calls are in memory at a time
BLOCK_BYTES = 2**20  # of images that are copied at a time

Bounds = tuple[int, int]  # the first step of a call, and the step after its last


class Feed:
    """A source of the images of each call; see `make_feed`.

    Attributes:
      specs: how a CallInputs is sharded over the devices, for jax.shard_map.
      shapes: CallInputs of jax.ShapeDtypeStruct, from which the loop is compiled.
      is_sharded: whether each device holds a shard of the images, and needs those of others.
      calls_per_epoch: the number of calls of a whole epoch.
    """

    specs: Any
    shapes: Any
    is_sharded = False

    def __init__(
        self, data: TrainingData, layout: BatchLayout, steps_per_epoch: int, calls_per_epoch: int
    ) -> None:
        """Store the images and what is the same for all calls."""
        self._images, self._labels, self._layout = data.x_train, data.y_train, layout
        self._steps_per_epoch = steps_per_epoch
        self.calls_per_epoch = calls_per_epoch
        self._max_steps = math.ceil(steps_per_epoch / calls_per_epoch)
        self._num_devices = layout.mesh.size
        self._per_device = layout.batch_size // self._num_devices

    def calls(self, order: np.ndarray, bounds: Sequence[Bounds]) -> Generator[CallInputs]:
        """Yield calls of one epoch.

        Args:
          order: int32 [images], the order of the images in this epoch.
          bounds: the steps of each call, of which none is longer than an epoch's steps divided by
            `calls_per_epoch`, rounded up.
        """
        raise NotImplementedError

    def _describe(self, num_images: int, spec: Any) -> None:
        """Set `specs` and `shapes`; `spec` says how a number of images is sharded."""
        by_device: Any = PartitionSpec(AXIS)
        replicated: Any = PartitionSpec()
        self.specs = CallInputs(DeviceData(spec, spec), by_device, replicated, replicated)

        def shape_of(shape: Sequence[int], dtype: type, spec: PartitionSpec) -> Any:
            sharding = NamedSharding(self._layout.mesh, spec)
            return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)

        rows = self._num_devices * self._max_steps, 1 + self._per_device
        images = num_images, *self._images.shape[1:]
        self.shapes = CallInputs(
            DeviceData(shape_of(images, np.uint8, spec), shape_of(images[:1], np.int32, spec)),
            shape_of(rows, np.int32, by_device),
            shape_of((), np.int32, replicated),
            shape_of((), np.int32, replicated),
        )

    def _rows(self, order: np.ndarray, bounds: Bounds) -> np.ndarray:
        """Return the indices of the images of each device in each step.

        An image is mixed with the one before it in the batch, so those of a device are preceded by
        the one that its first image is mixed with: int32 [devices, steps, 1 + images per device].
        """
        start, stop = bounds
        first, size = start % self._steps_per_epoch, self._layout.batch_size
        batches = order[first * size : (first + stop - start) * size].reshape(stop - start, size)
        own, before = (
            images.reshape(stop - start, self._num_devices, self._per_device)
            for images in (batches, np.roll(batches, 1, axis=1))
        )
        return np.concatenate([before[..., :1], own], axis=2).swapaxes(0, 1)

    def _call(self, data: DeviceData, rows: np.ndarray, bounds: Bounds) -> CallInputs:
        """Return the inputs of a call; `rows` are those of `_rows`, of at most max_steps steps."""
        missing = self._max_steps - rows.shape[1]
        padded = np.pad(rows, [(0, 0), (0, missing), (0, 0)]).reshape(self.shapes.rows.shape)
        rows_of_devices = _make_sharded(self.shapes.rows, padded.__getitem__)
        start, stop = np.array(bounds, np.int32)  # the same in all processes
        return CallInputs(data, rows_of_devices, start, stop)


class InMemoryFeed(Feed):
    """A feed that copies all training images to the devices, before the first step.

    Cores share one copy. Devices that have a memory of their own hold an equal part each, and
    exchange the images of each step.
    """

    def __init__(
        self,
        data: TrainingData,
        layout: BatchLayout,
        steps_per_epoch: int,
        calls_per_epoch: int = MIN_CALLS_PER_EPOCH,
    ) -> None:
        """Copy all training images and labels to the devices."""
        super().__init__(data, layout, steps_per_epoch, calls_per_epoch)
        self.is_sharded = layout.devices_per_memory < layout.mesh.size
        count, parts = len(self._images), layout.mesh.size if self.is_sharded else 1
        self._describe(
            math.ceil(count / parts) * parts,
            PartitionSpec(AXIS) if self.is_sharded else PartitionSpec(),
        )
        shapes = self.shapes.data
        # The last image is repeated, so that all devices hold equally many.
        rows = np.arange(shapes.labels.shape[0]).clip(max=count - 1)
        self._data = DeviceData(
            _make_sharded(shapes.images, lambda part: copy_rows(self._images, rows[part])),
            _make_sharded(shapes.labels, lambda part: self._labels[rows[part]]),
        )

    def calls(self, order: np.ndarray, bounds: Sequence[Bounds]) -> Generator[CallInputs]:
        """Yield calls; see `Feed.calls`."""
        for start_stop in bounds:
            yield self._call(self._data, self._rows(order, start_stop), start_stop)


class StreamingFeed(Feed):
    """A feed that reads the images of a call while the devices compute the one before it.

    Each process reads the images of its own devices alone.
    """

    def __init__(self, data: TrainingData, layout: BatchLayout, steps_per_epoch: int) -> None:
        """Choose the length of a call."""
        image_bytes = math.prod(data.x_train.shape[1:])
        epoch_bytes = steps_per_epoch * layout.batch_size * image_bytes
        num_calls = max(MIN_CALLS_PER_EPOCH, math.ceil(epoch_bytes / CHUNK_BYTES))
        super().__init__(data, layout, steps_per_epoch, num_calls)
        per_device = self._max_steps * (1 + self._per_device)
        self._describe(self._num_devices * per_device, PartitionSpec(AXIS))
        # In a chunk, the images of a device lie in the order in which it processes them.
        own = np.arange(per_device, dtype=np.int32).reshape(1, self._max_steps, -1)
        self._chunk_rows = own.repeat(self._num_devices, axis=0)

    def calls(self, order: np.ndarray, bounds: Sequence[Bounds]) -> Generator[CallInputs]:
        """Yield calls; see `Feed.calls`."""
        with ThreadPoolExecutor(1) as reader:
            reads = (reader.submit(self._read, order, start_stop) for start_stop in bounds)
            for call in prefetch_one(reads):
                yield call.result()

    def _read(self, order: np.ndarray, bounds: Bounds) -> CallInputs:
        rows = self._rows(order, bounds).reshape(self._num_devices, -1)
        shapes = self.shapes.data
        per_device = shapes.labels.shape[0] // self._num_devices

        def rows_of(part: slice) -> np.ndarray:
            return rows[(part.start or 0) // per_device]

        def labels_of(part: slice) -> np.ndarray:
            labels = self._labels[rows_of(part)]
            return np.pad(labels, (0, per_device - len(labels)))

        data = DeviceData(
            _make_sharded(
                shapes.images, lambda part: copy_rows(self._images, rows_of(part), per_device)
            ),
            _make_sharded(shapes.labels, labels_of),
        )
        return self._call(data, self._chunk_rows, bounds)


def make_feed(data: TrainingData, layout: BatchLayout, steps_per_epoch: int) -> Feed:
    """Return an InMemoryFeed for one process whose memory has room for it, else a StreamingFeed.

    Of several processes, some could have room and others not, so each reads its own images.
    """
    is_in_memory = jax.process_count() == 1 and _fits_in_memory(data.x_train.shape, layout)
    return (InMemoryFeed if is_in_memory else StreamingFeed)(data, layout, steps_per_epoch)


def _fits_in_memory(shape: tuple[int, ...], layout: BatchLayout) -> bool:
    """Return whether images take at most MEMORY_SHARE of the free memory.

    That is the memory of the devices, and that of the machine, which copies them.
    """
    device, host = free_bytes(layout.mesh.devices.flat[0]), free_host_bytes()
    if device is None or host is None:
        return False
    num_memories = layout.mesh.size // layout.devices_per_memory
    return math.prod(shape) <= MEMORY_SHARE * min(device * num_memories, host)


def copy_rows(images: ImageArray, rows: np.ndarray, size: int | None = None) -> np.ndarray:
    """Copy images to an array that JAX uses as it is, uint8 [size, height, width, channels].

    Args:
      images: uint8 [N, height, width, channels].
      rows: int [n], the indices of the images; they are read in the order of these.
      size: number of images of the array, of which those from n on are not set; n where it is None.
    """
    copied = aligned_empty((len(rows) if size is None else size, *images.shape[1:]), np.uint8)
    order = np.argsort(rows, kind="stable")
    step = max(1, BLOCK_BYTES // math.prod(images.shape[1:]))
    for start in range(0, len(rows), step):
        places = order[start : start + step]
        copied[places] = images[rows[places]]
    return copied


def _make_sharded(shape: jax.ShapeDtypeStruct, read: Callable[[slice], np.ndarray]) -> jax.Array:
    """Make a sharded array; `read` returns the part of a device along the first axis."""

    def read_part(index: Any) -> np.ndarray:
        return read(index[0])

    return jax.make_array_from_callback(shape.shape, shape.sharding, read_part)
