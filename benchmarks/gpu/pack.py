"""`python -m benchmarks.gpu.pack` packs what a machine with a GPU and no network lacks.

It needs Python 3.12, jax with CUDA, torch and timm there. The other packages come into
.scratch/gpu/packages, and MNIST, if data/dataset.npz holds it, into .scratch/gpu/mnist.npz. Copy
.scratch/gpu with the project; `python -m benchmarks.gpu` finds it.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks.gpu import PACKED, PACKED_DATASET, PACKED_PACKAGES
from benchmarks.recipes.settings import DATASET, load_mnist
from vit_hk.atomic import replacing
from vit_hk.data.dataset import ARRAYS
from vit_hk.errors import UserError, one_line_errors

# What the model, its training step and the settings import beside jax, and what these need.
PACKAGES = (
    "absl-py", "annotated-types", "dm-haiku", "jmp", "optax", "pydantic", "pydantic_core", "pyyaml",
    "safetensors", "tabulate", "typing-inspection", "typing_extensions",
)  # fmt: skip
PINS = (Path("requirements.txt"), Path("constraints.txt"))
TARGET = [
    "--only-binary=:all:", "--implementation=cp", "--python-version=3.12",
    "--platform=manylinux_2_28_x86_64", "--platform=manylinux_2_17_x86_64",
    "--platform=manylinux2014_x86_64",
]  # fmt: skip
MAX_BYTES = 40 * 2**20


def main() -> None:
    """Pack packages and data, and print their size."""
    shutil.rmtree(PACKED, ignore_errors=True)
    install(PACKED_PACKAGES)
    if DATASET.exists():
        pack_dataset(PACKED_DATASET)
    else:
        print(f"{DATASET} is missing: without MNIST the time to 99 % is left out")
    size = sum(path.stat().st_size for path in PACKED.rglob("*") if path.is_file())
    print(f"{PACKED}: {size / 2**20:.1f} MiB")
    if size > MAX_BYTES:
        raise UserError(f"{PACKED} has more than {MAX_BYTES // 2**20} MiB; pack fewer packages")


def install(folder: Path) -> None:
    """Install the pinned versions of PACKAGES for the other machine, without what they need.

    Raises:
      UserError: pip fails.
    """
    versions = pinned_versions()
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"]
    wanted = [f"{name}=={versions[name]}" for name in PACKAGES]
    if subprocess.run([*pip, *TARGET, f"--target={folder}", *wanted]).returncode:
        raise UserError("pip cannot install the packages; its error is printed above")


def pinned_versions() -> dict[str, str]:
    """Return the versions of requirements.txt and constraints.txt, by package."""
    lines = [line for path in PINS for line in path.read_text("utf-8").splitlines()]
    return dict(found.groups() for line in lines if (found := re.fullmatch(r"(\S+)==(\S+)", line)))


def pack_dataset(path: Path) -> None:
    """Write a compressed copy of MNIST.

    Raises:
      UserError: data/dataset.npz holds other data.
    """
    dataset = load_mnist()
    arrays = {name: getattr(dataset, name) for name in ARRAYS}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


if __name__ == "__main__":
    with one_line_errors():
        main()
