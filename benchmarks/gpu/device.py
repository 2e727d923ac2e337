"""Print the device that JAX computes on, its driver and the versions of packages, as JSON."""

import contextlib
import json
import re
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import jax

PACKAGES = ("jax", "jaxlib", "dm-haiku", "optax", "torch", "timm", "numpy")
DRIVER = Path("/proc/driver/nvidia/version")


def main() -> None:
    """Start JAX, and describe its first device."""
    try:
        device = jax.devices()[0]
    except RuntimeError as error:
        print(json.dumps({"error": " ".join(str(error).split())}))
        return
    statistics = device.memory_stats() or {}
    print(
        json.dumps(
            {
                "name": device.device_kind,
                "platform": device.platform,
                "compute_capability": getattr(device, "compute_capability", None),
                "memory_bytes": statistics.get("bytes_limit"),
                "driver": driver_version(),
                "backend": device.client.platform_version.splitlines(),
                "versions": {"python": sys.version.split()[0]} | package_versions(),
            }
        )
    )


def driver_version() -> str | None:
    """Return the version of NVIDIA's driver, or None where there is none."""
    with contextlib.suppress(OSError):
        found = re.search(r"\b\d+\.\d+(\.\d+)?\b", DRIVER.read_text("utf-8"))
        return found[0] if found else None
    return None


def package_versions() -> dict[str, str | None]:
    """Return the version of each package that is measured; None where it is missing."""
    versions: dict[str, str | None] = dict.fromkeys(PACKAGES)
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    return versions


if __name__ == "__main__":
    main()
