import jax
import numpy as np
import pytest
from jax.sharding import Mesh

from vit_hk.errors import UserError
from vit_hk.runtime.batch_layout import BatchLayout, layout_for_inference, layout_for_training


@pytest.mark.parametrize(
    ("batch_size", "num_tokens", "hidden_size", "expected"),
    [
        # Devices, microbatches of each, images of a microbatch. 16 * 17 tokens are nearer to the
        # target of 224 than 8 * 17.
        (64, 17, 64, (2, 2, 16)),
        (128, 50, 128, (2, 16, 4)),
        (128, 50, 192, (2, 8, 8)),  # 8 * 50 tokens are nearest to 448, the target of wide models
        (32, 197, 384, (2, 8, 2)),
        (6, 500, 64, (2, 3, 1)),
        (10, 8, 64, (2, 1, 5)),
        (10, 6, 64, (1, 1, 10)),  # fewer than 32 tokens for each of two devices
        (61, 17, 64, (1, 1, 61)),  # a prime number
    ],
)
def test_training_batch_is_split_into_equal_microbatches(
    batch_size, num_tokens, hidden_size, expected
):
    layout = layout_for_training(batch_size, num_tokens, hidden_size)
    assert (layout.mesh.size, layout.num_microbatches, layout.microbatch_size) == expected
    assert layout.batch_size == batch_size


def test_batch_that_the_devices_of_several_processes_do_not_divide_is_refused(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    assert layout_for_training(16, 8, 8).mesh.size == 2
    message = "2 processes have 2 devices, but a batch can be sharded over 1 only"
    with pytest.raises(UserError, match=message):
        layout_for_training(15, 8, 8)


@pytest.mark.parametrize("batch_size", [1, 2, 7, 32, 61, 500])
@pytest.mark.parametrize("num_tokens", [2, 17, 50, 500])
@pytest.mark.parametrize(("hidden_size", "max_tokens"), [(128, 256), (129, 1024)])
def test_inference_batch_has_the_least_padding(batch_size, num_tokens, hidden_size, max_tokens):
    layout = layout_for_inference(batch_size, num_tokens, hidden_size)
    padding = layout.batch_size - batch_size
    # Each device has the same number of microbatches, all of one size.
    assert 0 <= padding < layout.mesh.size * min(layout.num_microbatches, layout.microbatch_size)
    assert layout.microbatch_size == 1 or layout.microbatch_size * num_tokens <= max_tokens


def test_a_wide_model_has_larger_microbatches_in_inference():
    wide, narrow = (layout_for_inference(32, 197, size) for size in (384, 128))
    assert (wide.mesh.size, wide.num_microbatches, wide.microbatch_size) == (2, 4, 4)
    assert narrow.microbatch_size == 1


@pytest.mark.parametrize("make_layout", [layout_for_training, layout_for_inference])
def test_gpu_processes_its_share_as_one_microbatch(monkeypatch, make_layout):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    layout = make_layout(600, 50, 64)
    assert (layout.num_microbatches, layout.microbatch_size) == (1, 300)


class Device:
    """A stand-in for a jax.Device, for a mesh on which nothing is computed."""

    process_index = 0

    def __init__(self, platform: str) -> None:
        self.platform = platform


@pytest.mark.parametrize(
    ("platform", "devices_per_memory", "images_per_memory"), [("cpu", 2, 100), ("gpu", 1, 50)]
)
def test_cores_share_one_memory_and_each_gpu_has_its_own(
    platform, devices_per_memory, images_per_memory
):
    mesh = Mesh(np.array([Device(platform), Device(platform)]), ("data",))
    layout = BatchLayout(mesh, num_microbatches=3, microbatch_size=50)
    assert layout.devices_per_memory == devices_per_memory
    assert layout.images_per_memory == images_per_memory


def test_replicated_array_is_whole_on_each_device():
    layout = layout_for_training(64, 17, 64)
    array = jax.device_put(np.arange(6), layout.replicated)
    assert len(array.addressable_shards) == 2
    for shard in array.addressable_shards:
        np.testing.assert_array_equal(shard.data, np.arange(6))
