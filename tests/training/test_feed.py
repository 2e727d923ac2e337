"""Feeds: whichever way images reach the devices, each step gets the same ones."""

import dataclasses
import functools
import threading

import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from vit_hk.data.image_rows import ImageRows
from vit_hk.data.normalization import Normalization
from vit_hk.runtime.batch_layout import AXIS, BatchLayout
from vit_hk.training import feed
from vit_hk.training.checkpoint import Checkpoints
from vit_hk.training.data import TrainingData, epoch_order
from vit_hk.training.device_data import CallInputs, take_images
from vit_hk.training.feed import InMemoryFeed, StreamingFeed, copy_rows, make_feed
from vit_hk.training.loop import StoppedError, train

ONE_DEVICE, TWO_DEVICES = (Mesh(np.array(jax.devices()[:count]), (AXIS,)) for count in (1, 2))


class SeparateMemories(BatchLayout):
    """A layout whose devices have a memory each, as GPUs do."""

    @property
    def devices_per_memory(self) -> int:
        return 1


@pytest.fixture(scope="module")
def numbered() -> TrainingData:
    """Return 67 images whose pixels and label are their number, stored in another order."""
    numbers = np.arange(67, dtype=np.int32)
    stored = np.broadcast_to(numbers[::-1, None, None, None], (67, 3, 5, 2)).astype(np.uint8)
    images = ImageRows(stored, numbers[::-1])
    return TrainingData(images, numbers, images, numbers, Normalization((0.0,) * 2, (1.0,) * 2))


def images_of_devices(source: feed.Feed, layout: BatchLayout, call: CallInputs) -> np.ndarray:
    """Return the numbers of the images of devices in each step, [steps, devices, 1 + images]."""
    rows = np.asarray(call.rows)

    def run(call):
        return jax.lax.map(lambda r: take_images(call.data, r, source.is_sharded), call.rows)

    data = jax.jit(
        jax.shard_map(
            run, mesh=layout.mesh, in_specs=(source.specs,),
            out_specs=jax.sharding.PartitionSpec(AXIS), check_vma=False,
        )
    )(call)  # fmt: skip
    assert data.images.dtype == np.uint8
    images, labels = np.asarray(data.images), np.asarray(data.labels)
    steps = int(call.stop) - int(call.start)
    numbers = labels.reshape(layout.mesh.size, -1, rows.shape[1]).swapaxes(0, 1)[:steps]
    images = images.reshape(layout.mesh.size, -1, *images.shape[1:]).swapaxes(0, 1)[:steps]
    np.testing.assert_array_equal(images, numbers[..., None, None, None] + np.zeros((3, 5, 2)))
    return numbers


in_memory = functools.partial(InMemoryFeed, calls_per_epoch=3)


@pytest.mark.parametrize(
    ("kind", "layout"),
    [
        (in_memory, BatchLayout(ONE_DEVICE, 2, 4)),
        (in_memory, BatchLayout(TWO_DEVICES, 1, 4)),
        (in_memory, SeparateMemories(TWO_DEVICES, 1, 4)),
        (StreamingFeed, BatchLayout(ONE_DEVICE, 2, 4)),
        (StreamingFeed, BatchLayout(TWO_DEVICES, 1, 4)),
    ],
    ids=[
        "in memory, one device",
        "in memory, cores",
        "in memory, memories",
        "streaming, one",
        "streaming, cores",
    ],
)
def test_each_device_gets_its_shard_of_each_batch_after_the_image_before_it(
    numbered, monkeypatch, kind, layout
):
    monkeypatch.setattr(feed, "MIN_CALLS_PER_EPOCH", 3)
    monkeypatch.setattr(feed, "CHUNK_BYTES", 700)  # of two steps, or a part of a third
    source = kind(numbered, layout, 8)
    order = epoch_order(0, 1, 67)
    bounds = [(8, 10), (10, 11), (11, 13), (13, 15), (15, 16)]  # of the second epoch
    calls = list(source.calls(order, bounds))
    found = np.concatenate([images_of_devices(source, layout, call) for call in calls])
    batches = order[:64].reshape(8, 8)
    np.testing.assert_array_equal(found[:, :, 1:].reshape(8, 8), batches)
    before = np.roll(batches, 1, axis=1)[:, :: 8 // layout.mesh.size]
    np.testing.assert_array_equal(found[:, :, 0], before)
    assert [(int(call.start), int(call.stop)) for call in calls] == bounds


def held_by_devices(layout: BatchLayout, numbered: TrainingData) -> list[jax.Array]:
    """Return the images that each device holds."""
    (call,) = InMemoryFeed(numbered, layout, 8, 1).calls(epoch_order(0, 0, 67), [(0, 8)])
    return [part.data for part in call.data.images.addressable_shards]


def test_cores_share_one_copy_and_separate_memories_hold_a_part_each(numbered):
    cores = held_by_devices(BatchLayout(TWO_DEVICES, 1, 4), numbered)
    assert [len(images) for images in cores] == [67, 67]
    assert len({images.unsafe_buffer_pointer() for images in cores}) == 1
    apart = held_by_devices(SeparateMemories(TWO_DEVICES, 1, 4), numbered)
    assert [len(images) for images in apart] == [34, 34]


def test_images_are_gathered_in_their_order(numbered):
    rows = np.array([3, 66, 3, 0, 41])
    gathered = copy_rows(numbered.x_train, rows)
    np.testing.assert_array_equal(gathered[:, 0, 0, 0], rows)
    assert copy_rows(numbered.x_train, rows, 9).shape == (9, 3, 5, 2)
    assert gathered.ctypes.data % 64 == 0  # so that JAX does not copy it


class Recorded:
    """Images that record which of them are read, and when."""

    def __init__(self, images) -> None:
        self.images, self.shape = images, images.shape
        self.read, self.reading = [], threading.Semaphore(0)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index):
        self.read.append(index)
        self.reading.release()
        return self.images[index]


def test_one_call_is_read_ahead_while_another_is_computed(numbered, monkeypatch):
    monkeypatch.setattr(feed, "CHUNK_BYTES", 8 * 9 * 30)  # of a step
    images = Recorded(numbered.x_train)
    source = StreamingFeed(
        dataclasses.replace(numbered, x_train=images), BatchLayout(ONE_DEVICE, 1, 8), 8
    )
    calls = source.calls(epoch_order(0, 0, 67), [(step, step + 1) for step in range(8)])
    next(calls)
    assert all(images.reading.acquire(timeout=60) for _ in range(2))  # the second, unasked
    next(calls)
    assert images.reading.acquire(timeout=60)
    calls.close()  # as a training that stops does
    assert len(images.read) == 3
    assert [len(rows) for rows in images.read] == [9, 9, 9]  # no more than the images of a call


@pytest.mark.parametrize(
    ("layout", "share"), [(BatchLayout, 1.0), (SeparateMemories, 0.5)], ids=["cores", "memories"]
)
def test_images_are_held_in_memory_only_where_they_take_a_quarter_of_it(
    numbered, monkeypatch, layout, share
):
    layout = layout(TWO_DEVICES, 1, 4)
    needed = int(4 * share * 67 * 30)
    for free, kind in [(needed, InMemoryFeed), (needed - 4, StreamingFeed), (None, StreamingFeed)]:
        monkeypatch.setattr(feed, "free_bytes", lambda _, free=free: free)
        monkeypatch.setattr(feed, "free_host_bytes", lambda: 10 * needed)
        assert type(make_feed(numbered, layout, 8)) is kind
    # Images are copied in the memory of the machine before GPUs take them.
    monkeypatch.setattr(feed, "free_bytes", lambda _: 10 * needed)
    for host, kind in [
        (4 * 67 * 30, InMemoryFeed),
        (4 * 67 * 30 - 4, StreamingFeed),
        (None, StreamingFeed),
    ]:
        monkeypatch.setattr(feed, "free_host_bytes", lambda host=host: host)
        assert type(make_feed(numbered, layout, 8)) is kind
    monkeypatch.setattr(feed, "free_host_bytes", lambda: 10 * needed)
    # Of several processes, each reads the images of its own devices alone.
    monkeypatch.setattr(feed, "free_bytes", lambda _: needed)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    assert type(make_feed(numbered, layout, 8)) is StreamingFeed


def test_training_with_images_read_ahead_ends_with_the_same_bytes(
    make_config, quadrants, monkeypatch, tmp_path
):
    config = make_config(ema_decay=0.8, epochs=2, checkpoint_steps=3, augment={"mixup": 0.5})
    expected = train(config, quadrants, 4)
    monkeypatch.setattr(feed, "MEMORY_SHARE", 0.0)
    monkeypatch.setattr(feed, "MIN_CALLS_PER_EPOCH", 2)
    monkeypatch.setattr(feed, "CHUNK_BYTES", 4 * 16 * 64)  # of four steps
    stored = np.concatenate([quadrants.x_validation, quadrants.x_train])
    rows = ImageRows(stored, np.arange(80, 240))
    streamed = dataclasses.replace(quadrants, x_train=rows)
    stops = iter([False, True])
    with pytest.raises(StoppedError) as stopped:
        train(config, streamed, 4, Checkpoints(tmp_path), lambda: next(stops))
    assert stopped.value.step == 6  # in the middle of the first epoch
    resumed = train(config, streamed, 4, Checkpoints(tmp_path))
    assert resumed.history == expected.history
    for array, expected_array in zip(
        jax.tree.leaves((resumed.params, resumed.snapshots)),
        jax.tree.leaves((expected.params, expected.snapshots)),
        strict=True,
    ):
        assert np.asarray(array).tobytes() == np.asarray(expected_array).tobytes()
