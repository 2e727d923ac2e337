"""Keep freed memory for the next call of a compiled function, instead of asking for it anew.

XLA's CPU backend takes all memory of a compiled call at its start and frees it at its end. The C
library hands blocks so large back to the kernel, which clears each page at its next use:
93,000 pages, 0.1 s, for one step of the benchmark's model M (batch 128, 2 cores).
"""

import ctypes

import jax

# Parameters of mallopt(3), from glibc's malloc.h.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
MOST_KEPT = 2**30  # bytes of a block; larger ones are given back


def keep_freed_memory() -> None:
    """To be called before JAX computes. Without glibc (not Linux, or musl) it does nothing."""
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(MMAP_THRESHOLD, MOST_KEPT)
    mallopt(TRIM_THRESHOLD, MOST_KEPT)
    # Only the main thread can keep more than 64 MiB; this lets JAX compute in the one that calls.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
