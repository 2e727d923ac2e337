"""Free memory: checked before it is taken, and a lack of it reported in one line."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import jax

from vit_hk.errors import UserError

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")  # a container's limit, and what it uses


def check_free_memory(needed: int) -> None:
    """Compare a lower bound of the memory that will be needed with what is free.

    Linux grants memory that is not there, and later kills the process that uses it without a
    message. So what can be foreseen is checked beforehand.

    Args:
      needed: bytes, in one memory.

    Raises:
      MemoryError: less is free. Where the system does not report free memory, nothing is raised.
    """
    free = free_bytes(jax.devices()[0])
    if free is not None and needed > free:
        raise MemoryError(
            f"at least {needed / 2**30:,.1f} GiB are needed, {free / 2**30:,.1f} GiB are free"
        )


def free_bytes(device: jax.Device) -> int | None:
    """Return the free memory of a device in bytes, or None where it is not reported."""
    if statistics := device.memory_stats():  # a GPU
        return statistics["bytes_limit"] - statistics["bytes_in_use"]
    found = []
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = MEMINFO.read_text("ascii").splitlines()
        available = next(line for line in lines if line.startswith("MemAvailable:"))
        found.append(1024 * int(available.split()[1]))
    with contextlib.suppress(OSError, ValueError, KeyError):  # "max", no limit, is no number
        limit, used = (
            int((CGROUP / name).read_text("ascii")) for name in ("memory.max", "memory.current")
        )
        found.append(limit - used + _page_cache_bytes())
    return min(found, default=None)


def _page_cache_bytes() -> int:
    """Return the size of a container's page cache, which it gives up when memory is short."""
    lines = (CGROUP / "memory.stat").read_text("ascii").splitlines()
    sizes = dict(line.split() for line in lines)
    return int(sizes["active_file"]) + int(sizes["inactive_file"])


@contextlib.contextmanager
def report_out_of_memory(*settings: str) -> Iterator[None]:
    """Turn a lack of memory inside the block into a UserError; also works as a decorator.

    Args:
      settings: keys of params.yaml that lower the need, beside those of the model.
    """
    try:
        yield
    except MemoryError as error:
        problem = str(error) or "allocation failed"
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        problem = str(error).splitlines()[0]
    else:
        return
    keys = ", ".join([*settings, "model.hidden_size", "model.mlp_dim", "model.num_layers"])
    raise UserError(
        f"not enough memory ({problem}); lower in params.yaml: {keys}, or raise model.patch_size"
    )
