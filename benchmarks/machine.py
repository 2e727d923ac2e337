"""Description of the machine that runs the benchmarks, without its name, and its other load."""

import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from vit_hk.process_limits import usable_cores

PACKAGES = (
    "jax", "dm-haiku", "optax", "flax", "torch", "timm", "vit-pytorch", "mnistvit",
    "transformers",
)  # fmt: skip


def describe_machine() -> dict[str, Any]:
    """Return the processor, its number of cores and the versions of all packages measured."""
    cpuinfo = Path("/proc/cpuinfo").read_text("utf-8")
    names = (line for line in cpuinfo.splitlines() if line.startswith("model name"))
    model = next(names, "model name: unknown")  # Linux on ARM names none
    return {
        "processor": model.partition(":")[2].strip(),
        "cores": usable_cores(),
        "vector_instructions": "AVX-512" if " avx512f" in cpuinfo else "no AVX-512",
        "versions": {package: version(package) for package in PACKAGES},
    }


def busy_core_seconds() -> float:
    """Return the seconds that all cores together were busy or stolen since the machine started."""
    _, *ticks = Path("/proc/stat").read_text("ascii").splitlines()[0].split()
    user, nice, system, _idle, _wait, interrupt, soft_interrupt, stolen, *_ = map(int, ticks)
    busy = user + nice + system + interrupt + soft_interrupt + stolen
    return busy / os.sysconf("SC_CLK_TCK")


def warn_if_disturbed(disturbances: list[float], threshold: float) -> None:
    """Warn if other programs ran, which slows contenders with several threads most.

    Args:
      disturbances: share of all cores that other programs used, a number per round.
      threshold: share from which on a round counts as disturbed.
    """
    if disturbed := sum(share >= threshold for share in disturbances):
        print(
            f"warning: other programs disturbed {disturbed} of {len(disturbances)} rounds; measure "
            "again when nothing else runs",
            file=sys.stderr,
        )
