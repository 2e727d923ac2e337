import functools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from augmented_batches import UNMIXED, augmented_batch, prepare
from jax.sharding import Mesh

from vit_hk.runtime.batch_layout import AXIS, BatchLayout
from vit_hk.training.device_data import DeviceData

ONE_DEVICE, TWO_DEVICES = (Mesh(np.array(jax.devices()[:count]), (AXIS,)) for count in (1, 2))
LAYOUTS = pytest.mark.parametrize(
    "layout",
    [BatchLayout(ONE_DEVICE, 1, 6), BatchLayout(ONE_DEVICE, 3, 2), BatchLayout(TWO_DEVICES, 3, 1)],
    ids=["1 device x 1 x 6 images", "1 device x 3 x 2 images", "2 devices x 3 x 1 image"],
)
# All pixels of image n are 10 n, or n / 25.5 from 0 to 1, and its label is n.
DATA = DeviceData(
    jnp.broadcast_to(jnp.arange(0, 100, 10, dtype=jnp.uint8).reshape(-1, 1, 1, 1), (10, 4, 4, 1)),
    jnp.arange(10),
)
INDICES = jnp.array([3, 8, 1, 9, 0, 4])


@functools.cache
def prepared(layout, **augment):
    """Return the microbatches of the images of DATA, whose pixels are n / 25.5."""
    return prepare(layout, DATA, INDICES, **augment)


@LAYOUTS
def test_each_image_is_in_one_microbatch_with_its_label(layout):
    microbatches = prepared(layout)
    np.testing.assert_array_equal(np.ravel(microbatches.labels), INDICES)
    pixels = np.asarray(microbatches.images).reshape(6, -1)
    np.testing.assert_allclose(pixels, np.repeat(INDICES[:, None] / 25.5, 16, axis=1), rtol=1e-6)
    assert microbatches.mixture is None


@LAYOUTS
def test_images_are_mixed_with_the_one_before_them_in_the_batch(layout):
    microbatches = prepared(layout, mixup=1.0)
    partners = [4, 3, 8, 1, 9, 0]
    np.testing.assert_array_equal(np.ravel(microbatches.mixture.labels), partners)
    (lam,) = set(np.asarray(microbatches.mixture.lam).tolist())  # one for the batch
    assert 0.01 < lam < 0.99
    pixels = np.asarray(microbatches.images)[..., 0, 0, 0].ravel()
    expected = (lam * INDICES + (1 - lam) * np.array(partners)) / 25.5
    np.testing.assert_allclose(pixels, expected, rtol=1e-5)


@LAYOUTS
def test_targets_are_the_probabilities_of_the_classes(layout):
    microbatches = prepared(layout, mixup=1.0)
    targets = jax.vmap(lambda microbatch: microbatch.targets(10))(microbatches)
    lam = np.asarray(microbatches.mixture.lam).flat[0]
    expected = lam * np.eye(10)[INDICES] + (1 - lam) * np.eye(10)[np.roll(INDICES, 1)]
    np.testing.assert_allclose(np.asarray(targets).reshape(6, 10), expected, rtol=1e-6)


def test_a_batch_has_the_same_bits_whatever_the_layout():
    augment = {"shift": 2, "erase": 0.5, "mixup": 1.0}
    expected = augmented_batch(1, 1, augment)
    assert len(np.unique(expected[2], axis=0)) == 24  # each image has its own key
    assert_same_bits(augmented_batch(1, 24, augment), expected)
    assert_same_bits(augmented_batch(2, 4, augment), expected)


def test_two_and_four_devices_prepare_the_batch_of_one(project, tmp_path):
    # They run the optimized code, as users do, and this process does not.
    expected = augmented_batch(1, 1, UNMIXED)
    environment = {
        **os.environ,
        "JAX_NUM_CPU_DEVICES": "4",
        "PYTHONPATH": f"{project}:{project / 'tests'}",
    }
    for name in ("JAX_DISABLE_MOST_OPTIMIZATIONS", "XLA_FLAGS"):  # of the test suite
        environment.pop(name, None)
    program = project / "tests/training/augmented_batches.py"
    subprocess.run(
        [sys.executable, program, tmp_path / "batches.npz", "2x4", "4x6"],
        env=environment, check=True,
    )  # fmt: skip
    with np.load(tmp_path / "batches.npz") as batches:
        arrays = [batches[f"arr_{number}"] for number in range(6)]
    assert_same_bits(arrays[:3], expected)
    assert_same_bits(arrays[3:], expected)


def assert_same_bits(found, expected):
    for array, expected_array in zip(found, expected, strict=True):
        np.testing.assert_array_equal(array, expected_array)
