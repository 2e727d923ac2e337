"""Memory that a model and its batch need, told before it is taken or when it is not there."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import jax

from vit_hk.errors import UserError

MEMINFO = Path("/proc/meminfo")
# Of a container: its limit and its use, in bytes.
CGROUP = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current"))


def check_fits(compiled: jax.stages.Compiled) -> None:
    """Compare what a compiled function will take, beside its arguments, with what is free.

    Raises:
      MemoryError: it is more. Nothing is known, and nothing raised, where neither Linux nor a
        GPU tells what is free.
    """
    needs, free = compiled.memory_analysis(), free_bytes(jax.devices()[0])
    if needs is None or free is None:
        return
    needed = needs.temp_size_in_bytes + needs.output_size_in_bytes - needs.alias_size_in_bytes
    if needed > free:
        raise MemoryError(f"{needed / 2**30:,.1f} GiB are needed, {free / 2**30:,.1f} GiB are free")


def free_bytes(device: jax.Device) -> int | None:
    """Memory that a device can still give, or None where it does not say."""
    if statistics := device.memory_stats():  # a GPU
        return statistics["bytes_limit"] - statistics["bytes_in_use"]
    found = []
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = MEMINFO.read_text("ascii").splitlines()
        available = next(line for line in lines if line.startswith("MemAvailable:"))
        found.append(1024 * int(available.split()[1]))
    with contextlib.suppress(OSError, ValueError):  # "max" is no number: no limit
        limit, used = (int(path.read_text("ascii")) for path in CGROUP)
        found.append(limit - used)
    return min(found, default=None)


@contextlib.contextmanager
def enough_memory(*settings: str) -> Iterator[None]:
    """Turn a lack of memory inside the block into a UserError; also a decorator.

    Args:
      settings: keys of params.yaml to lower, beside those of the model.
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
