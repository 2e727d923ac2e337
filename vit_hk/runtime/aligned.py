"""Memory for arrays that JAX uses as they are."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

ALIGNMENT = 64  # bytes, that of JAX's buffers on a CPU


def aligned_empty(shape: Sequence[int], dtype: DTypeLike) -> np.ndarray:
    """Return an array whose memory starts at a multiple of ALIGNMENT, not initialized.

    JAX uses aligned arrays as they are, on all cores, and copies others once for each core.
    """
    dtype = np.dtype(dtype)
    size = dtype.itemsize * math.prod(shape)
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)
