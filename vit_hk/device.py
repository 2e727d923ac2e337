"""Which device JAX computes on."""

import contextlib
import os
from pathlib import Path

import jax

from vit_hk.division import make_each_core_a_device
from vit_hk.errors import UserError
from vit_hk.freed_memory import keep_freed_memory

COMPILED = Path(".scratch/compiled")
MOST_COMPILED = 2**29  # bytes; what was used longest ago goes first


def select_device(platform: str) -> jax.Device:
    """Start JAX on the platform that params.yaml asks for.

    Args:
      platform: "auto" (a GPU if JAX sees one, else the CPU), "cpu" or "gpu".

    Returns:
      The device that computations will run on.

    Raises:
      UserError: a GPU is asked for and JAX sees none, JAX sees no device at all, or the
        folder's name is one that JAX cannot read.
    """
    _check_folder()
    _keep_compiled()
    keep_freed_memory()
    make_each_core_a_device()
    if platform == "cpu":
        jax.config.update("jax_platforms", "cpu")
    try:
        devices = jax.devices()
    except (RuntimeError, AssertionError):
        raise UserError(
            f"JAX finds no device; JAX_PLATFORMS is {os.environ.get('JAX_PLATFORMS', '')!r}; unset "
            "it, or set train.platform in params.yaml to cpu"
        ) from None
    if platform == "gpu" and devices[0].platform != "gpu":
        raise UserError(
            f"params.yaml: train.platform is gpu, but JAX sees only {devices[0].platform}; install "
            "GPU support with: pip install -r requirements-gpu.txt, or set it to auto or cpu"
        )
    return devices[0]


def _check_folder() -> None:
    """JAX puts the names of source files into what it compiles, as UTF-8."""
    folder = str(Path.cwd())
    try:
        folder.encode()
    except UnicodeEncodeError:
        raise UserError(
            f"this locale cannot spell the name of the folder {folder!r}, and JAX needs it; unset "
            "PYTHONUTF8, or set LC_ALL=C.UTF-8"
        ) from None


def _keep_compiled() -> None:
    """Keep what XLA compiles, so that no other stage or run compiles the same again."""
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):  # a user's own is left as JAX keeps it
        root = Path(os.environ.get("DVC_ROOT", "."))  # also for copies of experiments
        _remove_half_written(root / COMPILED)
        jax.config.update("jax_compilation_cache_dir", str(root / COMPILED))
        jax.config.update("jax_compilation_cache_max_size", MOST_COMPILED)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _remove_half_written(folder: Path) -> None:
    """What a killed process was keeping has no time of use yet; JAX would warn of it ever after."""
    for kept in folder.glob("*-cache"):
        if not kept.with_name(f"{kept.name.removesuffix('cache')}atime").exists():
            with contextlib.suppress(OSError):
                kept.unlink()
