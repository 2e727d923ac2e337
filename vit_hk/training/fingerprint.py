"""The fingerprint of a training, by which its saved state is found; see `state.py`."""

import hashlib
import json
import os
from pathlib import Path

import jax

from vit_hk.kernels.compiler import kernels_enabled
from vit_hk.params import Config
from vit_hk.runtime.devices import usable_cores
from vit_hk.training.code_identity import hash_code, package_versions, stage_code

# Variables of the environment by which JAX and XLA compute other numbers.
NUMERIC_VARIABLES = (
    "JAX_DEFAULT_DTYPE_BITS", "JAX_DEFAULT_MATMUL_PRECISION", "JAX_DEFAULT_PRNG_IMPL",
    "JAX_DISABLE_MOST_OPTIMIZATIONS", "JAX_ENABLE_X64", "JAX_RANDOM_SEED_OFFSET",
    "JAX_THREEFRY_PARTITIONABLE", "XLA_FLAGS",
)  # fmt: skip
PROJECT = Path(__file__).parents[2]  # the folder with the code that runs, and its dvc.yaml


def compute_fingerprint(
    config: Config, dataset: Path, device: jax.Device, project: Path = PROJECT
) -> str:
    """Return the fingerprint of a training: with equal ones, results have the same bytes.

    That holds on one machine, and on machines with the same processors.

    It depends on all that determines those bytes: the settings, the data, the code that dvc.yaml
    lists for the stage, the packages that this code needs, NUMERIC_VARIABLES, and the devices and
    cores; but not on how the devices are spread over processes.

    Args:
      config: all settings; the sections seed, model and train are part of the fingerprint, but not
        how often the state is saved, and of the weights file that the training starts from the
        content, but not the name.
      dataset: the NPZ file, whose content is part of the fingerprint.
      device: one of the devices; its kind and their number are part of the fingerprint.
      project: the folder with dvc.yaml and the code.

    Returns:
      16 hexadecimal digits.
    """
    settings = config.train
    code = stage_code(project, "train")
    # Several processes on a machine share its cores, so that each device has one of them. On a GPU
    # the cores compute nothing of a training.
    shares_cores = device.platform == "cpu" and jax.process_count() == 1
    threads_per_device = max(1, usable_cores() // jax.device_count()) if shares_cores else 1
    identity = {
        "settings": config.model_dump(
            include={"seed", "model", "train"},
            exclude={"train": {"checkpoint_steps", "init_from"}},
        ),
        "data": _hash_file(dataset),
        "init_from": _hash_file(Path(settings.init_from)) if settings.starts_from_file else None,
        "code": hash_code(code),
        "packages": package_versions(code),
        "devices": f"{jax.device_count()} x {device.platform} {device.device_kind}",
        "threads_per_device": threads_per_device,
        "kernels": kernels_enabled(),
        "environment": {name: os.environ.get(name) for name in NUMERIC_VARIABLES},
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def _hash_file(path: Path) -> str:
    """Return the SHA-256 of the content of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
