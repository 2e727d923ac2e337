"""Free memory: a check before it is used, and a one-line report when it runs out."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import jax

from vit_hk.errors import UserError

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")  # the limit of a container, and its use


def check_free_memory(needed: int) -> None:
    """Compare a lower bound of the memory that will be needed with the free memory.

    Linux grants more memory than there is, and later kills the process that uses it without a
    message. So a need that is known is checked beforehand.

    Args:
      needed: bytes, in one memory.

    Raises:
      MemoryError: less is free. If the system does not report free memory, nothing is raised.
    """
    free = free_bytes(jax.devices()[0])
    if free is not None and needed > free:
        raise MemoryError(
            f"at least {needed / 2**30:,.1f} GiB are needed, {free / 2**30:,.1f} GiB are free"
        )


def free_bytes(device: jax.Device) -> int | None:
    """Return the free memory of a device in bytes, or None if it is not reported."""
    if statistics := device.memory_stats():  # a GPU
        return statistics["bytes_limit"] - statistics["bytes_in_use"]
    reported = []
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = MEMINFO.read_text("ascii").splitlines()
        available = next(line for line in lines if line.startswith("MemAvailable:"))
        reported.append(1024 * int(available.split()[1]))
    with contextlib.suppress(OSError, ValueError, KeyError):  # no limit is "max", not a number
        limit, used = (
            int((CGROUP / name).read_text("ascii")) for name in ("memory.max", "memory.current")
        )
        reported.append(limit - used + _page_cache_bytes())
    return min(reported, default=None)


def _page_cache_bytes() -> int:
    """Return the size of a container's page cache, which is freed when memory is short."""
    lines = (CGROUP / "memory.stat").read_text("ascii").splitlines()
    sizes = dict(line.split() for line in lines)
    return int(sizes["active_file"]) + int(sizes["inactive_file"])


@contextlib.contextmanager
def report_out_of_memory(*settings: str) -> Iterator[None]:
    """Convert an out-of-memory error inside the block to a UserError; also works as a decorator.

    Args:
      *settings: keys of params.yaml to lower, besides those of the model.
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
