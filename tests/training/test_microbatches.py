import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from vit_hk.data.normalization import Normalization
from vit_hk.params import AugmentSettings
from vit_hk.runtime.batch_layout import AXIS, BatchLayout
from vit_hk.training.microbatches import DeviceData, prepare_microbatches, take_share

ONE_DEVICE, TWO_DEVICES = (Mesh(np.array(jax.devices()[:count]), (AXIS,)) for count in (1, 2))
LAYOUTS = pytest.mark.parametrize(
    "layout",
    [BatchLayout(ONE_DEVICE, 1, 6), BatchLayout(ONE_DEVICE, 3, 2), BatchLayout(TWO_DEVICES, 3, 1)],
    ids=["1 device x 1 x 6 images", "1 device x 3 x 2 images", "2 devices x 3 x 1 image"],
)
# All pixels of image n are 10 n, and its label is n.
DATA = DeviceData(
    jnp.broadcast_to(jnp.arange(0, 100, 10, dtype=jnp.uint8).reshape(-1, 1, 1, 1), (10, 4, 4, 1)),
    jnp.arange(10),
)
INDICES = jnp.array([3, 8, 1, 9, 0, 4])


def prepare(layout, **augment):
    """Return the microbatches of all devices, in which the pixels of image n are n / 25.5."""
    settings = AugmentSettings(**dict.fromkeys(AugmentSettings.model_fields, 0) | augment)
    normalization = Normalization(mean=(0.0,), std=(1.0,))

    def run(key):
        size = len(INDICES) // layout.mesh.size
        own = jax.lax.axis_index(AXIS) * size + jnp.arange(-1, size)  # after the one before them
        share = take_share(DATA, INDICES[own], is_exchanged=False)
        return prepare_microbatches(key, share, settings, normalization, layout)

    on_each_device = jax.shard_map(
        run, mesh=layout.mesh, in_specs=PartitionSpec(), out_specs=PartitionSpec(AXIS),
        check_vma=False,
    )  # fmt: skip
    return jax.jit(on_each_device)(jax.random.key(0))


@LAYOUTS
def test_each_image_is_in_one_microbatch_with_its_label(layout):
    microbatches = prepare(layout)
    np.testing.assert_array_equal(np.ravel(microbatches.labels), INDICES)
    pixels = np.asarray(microbatches.images).reshape(6, -1)
    np.testing.assert_allclose(pixels, np.repeat(INDICES[:, None] / 25.5, 16, axis=1), rtol=1e-6)
    assert microbatches.mixture is None


@LAYOUTS
def test_images_are_mixed_with_the_one_before_them_in_the_batch(layout):
    microbatches = prepare(layout, mixup=1.0)
    partners = [4, 3, 8, 1, 9, 0]
    np.testing.assert_array_equal(np.ravel(microbatches.mixture.labels), partners)
    (lam,) = set(np.asarray(microbatches.mixture.lam).tolist())  # one for the batch
    assert 0.01 < lam < 0.99
    pixels = np.asarray(microbatches.images)[..., 0, 0, 0].ravel()
    expected = (lam * INDICES + (1 - lam) * np.array(partners)) / 25.5
    np.testing.assert_allclose(pixels, expected, rtol=1e-5)


@LAYOUTS
def test_targets_are_the_probabilities_of_the_classes(layout):
    microbatches = prepare(layout, mixup=1.0)
    targets = jax.vmap(lambda microbatch: microbatch.targets(10))(microbatches)
    lam = np.asarray(microbatches.mixture.lam).flat[0]
    expected = lam * np.eye(10)[INDICES] + (1 - lam) * np.eye(10)[np.roll(INDICES, 1)]
    np.testing.assert_allclose(np.asarray(targets).reshape(6, 10), expected, rtol=1e-6)
