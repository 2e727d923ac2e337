"""What the figures were measured on, without its name."""

import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("jax", "dm-haiku", "optax", "flax", "torch", "timm", "vit-pytorch", "mnistvit")


def describe_machine() -> dict[str, Any]:
    """The processor, how many of its cores all contenders may use, and versions."""
    cpuinfo = Path("/proc/cpuinfo").read_text("utf-8")
    model = next(line for line in cpuinfo.splitlines() if line.startswith("model name"))
    return {
        "processor": model.partition(":")[2].strip(),
        "cores": os.cpu_count(),
        "vector_instructions": "AVX-512" if " avx512f" in cpuinfo else "no AVX-512",
        "versions": {package: version(package) for package in PACKAGES},
    }


def busy_core_seconds() -> float:
    """Seconds that all cores together have worked or were taken away since the machine started."""
    _, *ticks = Path("/proc/stat").read_text("ascii").splitlines()[0].split()
    user, nice, system, _idle, _wait, interrupt, soft_interrupt, stolen, *_ = map(int, ticks)
    busy = user + nice + system + interrupt + soft_interrupt + stolen
    return busy / os.sysconf("SC_CLK_TCK")


def warn_if_disturbed(shares: list[float], limit: float) -> None:
    """Say that other programs ran, which slows contenders with several threads most.

    Args:
      shares: of all cores that others took, a number a round.
      limit: what is a disturbance.
    """
    if disturbed := sum(share >= limit for share in shares):
        print(
            f"warning: other programs disturbed {disturbed} of {len(shares)} rounds; measure again "
            "when nothing else runs",
            file=sys.stderr,
        )
