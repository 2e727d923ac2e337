"""The control groups of this process, whose limits of memory and of processor time hold for it."""

import contextlib
import os
from pathlib import Path

# Control groups with their limits and their use, and a file that names the one of this process:
# that of a container, or one that systemd makes for a session or a service.
CGROUPS, OWN_CGROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def own_cgroups() -> list[Path]:
    """Return the folders of this process's control group and of those around it (version 2)."""
    with contextlib.suppress(OSError, StopIteration):
        lines = os.fsdecode(OWN_CGROUP.read_bytes()).splitlines()
        path = Path(next(line for line in lines if line.startswith("0::/")).removeprefix("0::/"))
        return [CGROUPS / part for part in (path, *path.parents)]
    return [CGROUPS]
