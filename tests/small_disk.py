"""A full disk, without one."""

import contextlib
import resource
from collections.abc import Iterator


@contextlib.contextmanager
def disk_of(size: int) -> Iterator[None]:
    """No file of this process may grow over `size` bytes; Python ignores the signal and raises."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
