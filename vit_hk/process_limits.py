"""The limits of this process: the cores it may use, and the control groups it belongs to."""

import contextlib
import math
import os
from pathlib import Path

# Control groups with their limits and their use, and a file that names the one of this process:
# that of a container, or one that systemd makes for a session or a service.
CGROUPS, OWN_CGROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
CPU_QUOTA = "cpu.max"  # a file of a control group: microseconds of processor time in each period


def usable_cores() -> int:
    """Return the number of cores that this process may use, within the CPU quotas around it."""
    is_linux = hasattr(os, "sched_getaffinity")  # excludes cores that the process is not pinned to
    cores = len(os.sched_getaffinity(0)) if is_linux else os.cpu_count() or 1
    for group in own_cgroups():
        with contextlib.suppress(OSError, ValueError):  # no limit is "max", which int() refuses
            quota, period = map(int, (group / CPU_QUOTA).read_text("ascii").split())
            cores = min(cores, math.ceil(quota / period))
    return cores


def own_cgroups() -> list[Path]:
    """Return the folders of this process's control group and of those around it (version 2)."""
    with contextlib.suppress(OSError, StopIteration):
        lines = os.fsdecode(OWN_CGROUP.read_bytes()).splitlines()
        path = Path(next(line for line in lines if line.startswith("0::/")).removeprefix("0::/"))
        return [CGROUPS / part for part in (path, *path.parents)]
    return [CGROUPS]
