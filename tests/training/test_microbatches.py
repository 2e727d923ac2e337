import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from vit_hk.data.normalization import Normalization
from vit_hk.params import AugmentSettings
from vit_hk.runtime.batch_layout import AXIS, BatchLayout
from vit_hk.training.microbatches import DeviceData, prepare_microbatches, take_share

STRONG = {"shift": 2, "rotate": 20, "scale": 0.2, "elastic": 2.0, "mixup": 1.0, "cutmix": 1.0}
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


@functools.cache
def prepared(layout, **augment):
    """Return the microbatches of the images of DATA, whose pixels are n / 25.5, and targets."""
    return prepare(layout, DATA, INDICES, **augment)


def prepare(layout, data, indices, **augment):
    """Return the microbatches of all devices, and the targets of their images."""
    settings = AugmentSettings(**dict.fromkeys(AugmentSettings.model_fields, 0) | augment)
    normalization = Normalization(mean=(0.0,), std=(1.0,))

    def run(key):
        size = len(indices) // layout.mesh.size
        own = jax.lax.axis_index(AXIS) * size + jnp.arange(-1, size)  # after the one before them
        share = take_share(data, indices[own], is_exchanged=False)
        microbatches = prepare_microbatches(key, share, settings, normalization, layout)
        return microbatches, jax.vmap(lambda microbatch: microbatch.targets(10))(microbatches)

    on_each_device = jax.shard_map(
        run, mesh=layout.mesh, in_specs=PartitionSpec(), out_specs=PartitionSpec(AXIS),
        check_vma=False,
    )  # fmt: skip
    return jax.jit(on_each_device)(jax.random.key(0))


@LAYOUTS
def test_each_image_is_in_one_microbatch_with_its_label(layout):
    microbatches, _ = prepared(layout)
    np.testing.assert_array_equal(np.ravel(microbatches.labels), INDICES)
    pixels = np.asarray(microbatches.images).reshape(6, -1)
    np.testing.assert_allclose(pixels, np.repeat(INDICES[:, None] / 25.5, 16, axis=1), rtol=1e-6)
    assert microbatches.mixture is None


@LAYOUTS
def test_images_are_mixed_with_the_one_before_them_in_the_batch(layout):
    microbatches, _ = prepared(layout, mixup=1.0)
    partners = [4, 3, 8, 1, 9, 0]
    np.testing.assert_array_equal(np.ravel(microbatches.mixture.labels), partners)
    (lam,) = set(np.asarray(microbatches.mixture.lam).tolist())  # one for the batch
    assert 0.01 < lam < 0.99
    pixels = np.asarray(microbatches.images)[..., 0, 0, 0].ravel()
    expected = (lam * INDICES + (1 - lam) * np.array(partners)) / 25.5
    np.testing.assert_allclose(pixels, expected, rtol=1e-5)


@LAYOUTS
def test_targets_are_the_probabilities_of_the_classes(layout):
    microbatches, targets = prepared(layout, mixup=1.0)
    lam = np.asarray(microbatches.mixture.lam).flat[0]
    expected = lam * np.eye(10)[INDICES] + (1 - lam) * np.eye(10)[np.roll(INDICES, 1)]
    np.testing.assert_allclose(np.asarray(targets).reshape(6, 10), expected, rtol=1e-6)


def augmented_batch(num_devices, num_microbatches, augment):
    """Return the images, targets and random keys of a batch of 24 random images, in its order."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (30, 12, 12, 1), dtype=np.uint8)
    data = DeviceData(jnp.asarray(images), jnp.asarray(random.integers(0, 10, 30)))
    mesh = Mesh(np.array(jax.devices()[:num_devices]), (AXIS,))
    layout = BatchLayout(mesh, num_microbatches, 24 // num_devices // num_microbatches)
    indices = jnp.asarray(random.permutation(30)[:24])
    microbatches, targets = prepare(layout, data, indices, **augment)
    keys = jax.random.key_data(microbatches.keys)
    return [np.asarray(x).reshape(24, *x.shape[2:]) for x in (microbatches.images, targets, keys)]


@pytest.mark.parametrize(
    ("augment", "tolerance", "layouts"),
    [
        ({"shift": 2, "mixup": 1.0, "cutmix": 1.0}, 0, [(1, 3), (2, 1)]),
        # XLA fuses the arithmetic of a warp otherwise for another microbatch size.
        (STRONG, 1e-5, [(2, 12)]),
    ],
    ids=["translation and mixtures", "all"],
)
def test_a_batch_is_the_same_whatever_the_layout(augment, tolerance, layouts):
    expected = augmented_batch(1, 1, augment)
    assert len(np.unique(expected[2], axis=0)) == 24  # each image has its own key
    for num_devices, num_microbatches in layouts:
        images, targets, keys = augmented_batch(num_devices, num_microbatches, augment)
        np.testing.assert_allclose(images, expected[0], rtol=0, atol=tolerance)
        np.testing.assert_array_equal(targets, expected[1])
        np.testing.assert_array_equal(keys, expected[2])
