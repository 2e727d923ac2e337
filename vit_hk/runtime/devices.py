"""Configuration of JAX before it starts: platform, devices, compilation cache and memory."""

import contextlib
import os
import sys
import tempfile
import warnings
from pathlib import Path

import jax

from vit_hk.errors import UserError, in_one_line
from vit_hk.params import Platform
from vit_hk.process_limits import usable_cores
from vit_hk.runtime.malloc import keep_freed_memory

COMPILATION_CACHE = Path(".scratch/compiled")
MAX_CACHE_BYTES = 2**29  # the least recently used entries are evicted first
# Before it writes an entry, JAX visits all others: 1,000 of them cost it 0.05 s. A training has 80.
MAX_CACHE_ENTRIES = 500
JAX_LOCK = ".lockfile"  # the name of the file that JAX locks while it writes to its cache
MAX_KERNELS = 1000  # in the object cache; a model has about 20


def configure_jax(platform: Platform) -> jax.Device:
    """Configure JAX, and start it on the platform that params.yaml names.

    On a CPU each core becomes a device, compiled functions run in the thread that calls them,
    freed memory is kept, and compiled code is cached on disk.

    Args:
      platform: "auto" (a GPU if JAX finds one, else the CPU), "cpu" or "gpu".

    Returns:
      The first device of this process.

    Raises:
      UserError: the platform is "gpu" and JAX finds none, JAX finds no device at all, or the name
        of the current folder cannot be encoded.
    """
    _check_folder()
    _use_compilation_cache()
    configure_cpu()
    if platform == "cpu":
        jax.config.update("jax_platforms", "cpu")
    chosen = os.environ.get("JAX_PLATFORMS")
    try:
        devices = jax.local_devices()
    except (RuntimeError, AssertionError) as error:
        remedy = (
            f"JAX_PLATFORMS is {chosen!r}; unset it, or set it to cpu"
            if chosen
            else "set JAX_PLATFORMS=cpu in the environment to compute without a GPU"
        )
        reason = f" ({text})" if (text := in_one_line(error, 200)) else ""
        raise UserError(f"JAX finds no device{reason}; {remedy}") from None
    if platform == "gpu" and devices[0].platform != "gpu":
        remedy = (
            f"unset JAX_PLATFORMS, which is {chosen!r},"
            if chosen
            else "install GPU support with: pip install -r requirements-gpu.txt,"
        )
        raise UserError(
            f"params.yaml: platform is gpu, but JAX sees only {devices[0].platform}; {remedy} or "
            "set platform to auto or cpu"
        )
    return devices[0]


def configure_cpu() -> None:
    """Configure JAX's CPU backend before it starts: a device per core, and malloc.

    Asynchronous dispatch is switched off because only the main thread's heap keeps freed memory
    (see `malloc.py`), so that compiled functions must run in it.
    """
    if "JAX_NUM_CPU_DEVICES" not in os.environ:  # a number that the user has set stays
        jax.config.update("jax_num_cpu_devices", usable_cores())
    if xla_threads() == 1:
        # XLA sums in another order where it has one thread only, and results must not depend on
        # whether two cores belong to one process or to two.
        os.environ["NPROC"] = "2"
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    keep_freed_memory()


def xla_threads() -> int:
    """Return the number of threads of XLA's CPU backend: NPROC where it is set, or one a core."""
    asked = os.environ.get("NPROC", "")
    return int(asked) if asked.isdecimal() and int(asked) else usable_cores()


def _check_folder() -> None:
    """Check that the folder's name is valid UTF-8, since compiled code contains file names."""
    folder = str(Path.cwd())
    try:
        folder.encode()
    except UnicodeEncodeError:
        raise UserError(
            f"this locale cannot encode the name of the folder {folder!r}, and JAX needs it; unset "
            "PYTHONUTF8, or set LC_ALL=C.UTF-8"
        ) from None


def _use_compilation_cache() -> None:
    """Cache compiled code on disk, so that other stages and runs do not compile it again."""
    chosen = os.environ.get("JAX_COMPILATION_CACHE_DIR", "")
    # Copies of the project for experiments share the cache. Its path is a part of JAX's keys.
    folder = Path(chosen or Path(os.environ.get("DVC_ROOT", ""), COMPILATION_CACHE).absolute())
    if "://" not in chosen and (problem := _find_problem(folder)):
        print(f"warning: compiled code is not kept in {folder}: {problem}", file=sys.stderr)
        jax.config.update("jax_enable_compilation_cache", False)
        return
    if not chosen:
        _remove_useless_entries(folder)
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_compilation_cache_max_size", MAX_CACHE_BYTES)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    # JAX would repeat it for each function. A disk that fills up is reported with the results.
    warnings.filterwarnings("ignore", "Error writing persistent compilation cache entry")


def _find_problem(folder: Path) -> str:
    """Say why a folder cannot be written, or return an empty string; JAX would warn each time."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return error.strerror or str(error)


def _remove_useless_entries(folder: Path) -> None:
    """Remove incomplete entries, and the least recently used ones above the maximum.

    A killed process leaves an entry without an access time, of which JAX would warn. So does one
    that is still writing it: where another process holds the lock of the cache, nothing is removed.
    """
    # Imported here: `make bench-gpu`, which keeps no cache, runs where filelock may be missing.
    from filelock import FileLock, Timeout

    with contextlib.suppress(Timeout, OSError), FileLock(folder / JAX_LOCK).acquire(timeout=0):
        _remove_entries(folder)


def _remove_entries(folder: Path) -> None:
    accessed = {entry: _access_time(entry) for entry in folder.glob("*-cache")}
    latest_first = sorted(accessed, key=accessed.__getitem__, reverse=True)
    for position, entry in enumerate(latest_first):
        if position >= MAX_CACHE_ENTRIES or not accessed[entry]:
            with contextlib.suppress(OSError):  # another process may remove the same ones
                entry.unlink()
                _access_file(entry).unlink()
    kernels = sorted(folder.glob("[!.]*.kernel"), key=_modification_time, reverse=True)
    for path in kernels[MAX_KERNELS:]:
        with contextlib.suppress(OSError):
            path.unlink()


def _access_file(entry: Path) -> Path:
    return entry.with_name(f"{entry.name.removesuffix('cache')}atime")


def _access_time(entry: Path) -> int:
    """Return when JAX last read or wrote an entry, in nanoseconds, or 0 if it is incomplete."""
    return _modification_time(_access_file(entry))


def _modification_time(path: Path) -> int:
    """Return when a file was last written, in nanoseconds, or 0 if it is not there."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
