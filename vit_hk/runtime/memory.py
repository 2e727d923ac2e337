"""Free memory: a check before it is used, and a one-line report when it runs out."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import jax

from vit_hk.errors import UserError
from vit_hk.process_limits import own_cgroups

MEMINFO = Path("/proc/meminfo")


def check_free_memory(needed: int) -> None:
    """Compare a lower bound of the memory that will be needed with the free memory of a device.

    Linux grants more memory than there is, and later kills the process that uses it without a
    message. So a need that is known is checked beforehand.

    Args:
      needed: bytes, in one memory.

    Raises:
      MemoryError: less is free. If the system does not report free memory, nothing is raised.
    """
    _check(needed, free_bytes(jax.local_devices()[0]))


def check_free_host_memory(needed: int) -> None:
    """Compare the memory that will be needed with the free memory of the machine.

    Args:
      needed: bytes.

    Raises:
      MemoryError: as in `check_free_memory`.
    """
    _check(needed, free_host_bytes())


def _check(needed: int, free: int | None) -> None:
    if free is not None and needed > free:
        raise MemoryError(
            f"at least {needed / 2**30:,.1f} GiB are needed, {free / 2**30:,.1f} GiB are free"
        )


def free_bytes(device: jax.Device) -> int | None:
    """Return the free memory of a device in bytes, or None if it is not reported."""
    if statistics := device.memory_stats():  # a GPU
        return statistics["bytes_limit"] - statistics["bytes_in_use"]
    return free_host_bytes()


def free_host_bytes() -> int | None:
    """Return the free memory of the machine in bytes, or None if it is not reported.

    A limit of a control group (version 2) counts.
    """
    reported = []
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = MEMINFO.read_text("ascii").splitlines()
        available = next(line for line in lines if line.startswith("MemAvailable:"))
        reported.append(1024 * int(available.split()[1]))
    reported += [free for group in own_cgroups() if (free := _free_bytes_of(group)) is not None]
    return min(reported, default=None)


def _free_bytes_of(group: Path) -> int | None:
    """Return what a control group may still take, or None where it has no limit."""
    try:
        limit, used = (int((group / f"memory.{n}").read_text("ascii")) for n in ("max", "current"))
        lines = (group / "memory.stat").read_text("ascii").splitlines()
        sizes = dict(line.split() for line in lines)
        # The page cache is freed when memory is short.
        return limit - used + int(sizes["active_file"]) + int(sizes["inactive_file"])
    except (OSError, ValueError, KeyError):  # no limit is "max", not a number
        return None


@contextlib.contextmanager
def report_out_of_memory(*settings: str) -> Iterator[None]:
    """Convert an out-of-memory error inside the block to a UserError; also works as a decorator.

    Args:
      *settings: keys of params.yaml to lower, besides those of the model.
    """
    of_model = ("num_heads", "hidden_size", "mlp_dim", "num_layers")
    keys = ", ".join([*settings, *(f"model.{name}" for name in of_model)])
    with advise_out_of_memory(f"lower in params.yaml: {keys}, or raise model.patch_size"):
        yield


@contextlib.contextmanager
def advise_out_of_memory(advice: str) -> Iterator[None]:
    """Convert an out-of-memory error inside the block to a UserError that ends with an advice."""
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
    raise UserError(f"not enough memory ({problem}); {advice}")
