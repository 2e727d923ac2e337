"""What the figures were measured on, without its name."""

import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

QUIET = 0.5  # of /proc/loadavg
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


def warn_of_load() -> None:
    """Say that the machine is busy, which slows contenders with several threads most."""
    load = os.getloadavg()[0]
    if load > QUIET:
        print(f"warning: the load is {load:.1f}; wait until nothing else runs", file=sys.stderr)
