"""The fingerprint of a training, by which its saved state is found; see `state.py`."""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

import jax

from vit_hk.kernels.compiler import kernels_enabled
from vit_hk.runtime.devices import xla_threads
from vit_hk.training.code_identity import package_versions
from vit_hk.training.inputs import TrainingInputs

# Variables of the environment by which JAX and XLA compute other numbers.
NUMERIC_VARIABLES = (
    "JAX_DEFAULT_DTYPE_BITS", "JAX_DEFAULT_MATMUL_PRECISION", "JAX_DEFAULT_PRNG_IMPL",
    "JAX_DISABLE_MOST_OPTIMIZATIONS", "JAX_ENABLE_X64", "JAX_EXEC_TIME_OPTIMIZATION_EFFORT",
    "JAX_OPTIMIZATION_LEVEL", "JAX_RANDOM_SEED_OFFSET", "JAX_SOFTMAX_CUSTOM_JVP",
    "JAX_THREEFRY_PARTITIONABLE", "XLA_FLAGS",
)  # fmt: skip


def compute_fingerprint(inputs: TrainingInputs, code: Iterable[Path], device: jax.Device) -> str:
    """Return the fingerprint of a training: with equal ones, results have the same bytes.

    That holds on one machine, and on machines with the same processors.

    It depends on all that determines those bytes: the settings, the data, the code, the packages
    that this code needs, NUMERIC_VARIABLES, and the devices and cores; but not on how the devices
    are spread over processes.

    Args:
      inputs: settings, data and code, all of which are part of the fingerprint but the platform.
      code: the files of the code, whose packages are part of the fingerprint.
      device: one of the devices; its kind and their number are part of the fingerprint.

    Returns:
      16 hexadecimal digits.
    """
    # Several processes on a machine share its cores, so that each device has one of them. On a GPU
    # the cores compute nothing of a training.
    shares_cores = device.platform == "cpu" and jax.process_count() == 1
    threads_per_device = max(1, xla_threads() // jax.device_count()) if shares_cores else 1
    identity = {
        "settings": inputs.settings,
        "data": inputs.data,
        "init_from": inputs.init_from,
        "code": inputs.code,
        "packages": package_versions(code),
        "devices": f"{jax.device_count()} x {device.platform} {device.device_kind}",
        "threads_per_device": threads_per_device,
        "kernels": kernels_enabled(),
        "environment": {name: os.environ.get(name) for name in NUMERIC_VARIABLES},
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
