"""A setting of malloc that keeps freed memory for the next call of a compiled function.

XLA's CPU backend allocates all memory of a compiled call at its start and frees it at its end. The
C library returns blocks of that size to the operating system, which clears each page at its next
use: 93,000 pages, 0.1 s, for one step of the benchmark's size M (batch 128, two cores).
"""

import ctypes

# Parameters of mallopt(3), from glibc's malloc.h.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
# Blocks up to this size are kept. Releases of glibc before 2.35 accept at most 32 MiB.
MAX_BLOCK_BYTES = (2**30, 2**25)


def keep_freed_memory() -> None:
    """Set glibc's malloc to keep freed blocks, before JAX computes.

    Without glibc (not Linux, or musl) nothing is done. Only the main thread's heap can
    keep more than 64 MiB, so JAX has to compute in the thread that calls it; see `devices.py`.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    # The second call alone would keep glibc from raising the first threshold by itself.
    if any(mallopt(MMAP_THRESHOLD, size) for size in MAX_BLOCK_BYTES):
        mallopt(TRIM_THRESHOLD, max(MAX_BLOCK_BYTES))
