"""An augmented batch in some layouts; as a program it writes those that its arguments name."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from settings_file import AUGMENTATION_OFF

from vit_hk.data.normalization import Normalization
from vit_hk.params import AugmentSettings
from vit_hk.runtime.batch_layout import AXIS, BatchLayout
from vit_hk.training.device_data import DeviceData, take_images
from vit_hk.training.microbatches import Microbatch, prepare_microbatches

# All that is random but mixtures, whose beta distribution takes long to compile.
UNMIXED = {
    "shift": 2, "flip": True, "rotate": 20, "scale": 0.2, "elastic": 2.0, "trivial": True,
    "erase": 0.5,
}  # fmt: skip
BATCH_SIZE = 24


def prepare(layout: BatchLayout, data: DeviceData, indices: jax.Array, **augment) -> Microbatch:
    """Return the microbatches of all devices."""
    settings = AugmentSettings(**AUGMENTATION_OFF | augment)
    channels = data.images.shape[-1]
    normalization = Normalization(mean=(0.0,) * channels, std=(1.0,) * channels)

    def run(key):
        size = len(indices) // layout.mesh.size
        places = jax.lax.axis_index(AXIS) * size + jnp.arange(-1, size)  # after the one before them
        own = take_images(data, indices[places], is_sharded=False)
        return prepare_microbatches(key, own, settings, normalization, layout)

    on_each_device = jax.shard_map(
        run, mesh=layout.mesh, in_specs=PartitionSpec(), out_specs=PartitionSpec(AXIS),
        check_vma=False,
    )  # fmt: skip
    return jax.jit(on_each_device)(jax.random.key(0))


def augmented_batch(num_devices: int, num_microbatches: int, augment: dict) -> list[np.ndarray]:
    """Return the images, targets and random keys of a batch of random images, in its order."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (30, 16, 16, 3), dtype=np.uint8)
    data = DeviceData(jnp.asarray(images), jnp.asarray(random.integers(0, 10, 30)))
    mesh = Mesh(np.array(jax.devices()[:num_devices]), (AXIS,))
    layout = BatchLayout(mesh, num_microbatches, BATCH_SIZE // num_devices // num_microbatches)
    order = jnp.asarray(random.permutation(30)[:BATCH_SIZE])
    microbatches = prepare(layout, data, order, **augment)
    targets = jax.vmap(lambda microbatch: microbatch.targets(10))(microbatches)
    keys = jax.random.key_data(microbatches.keys)
    arrays = (np.asarray(x) for x in (microbatches.images, targets, keys))
    return [x.reshape(BATCH_SIZE, *x.shape[2:]) for x in arrays]


if __name__ == "__main__":
    file, *layouts = sys.argv[1:]
    batches = [augmented_batch(*map(int, layout.split("x")), UNMIXED) for layout in layouts]
    np.savez(file, *(array for batch in batches for array in batch))
