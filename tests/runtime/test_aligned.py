import numpy as np
import pytest

from vit_hk.runtime.aligned import aligned_empty


@pytest.mark.parametrize("shape", [(), (7,), (3, 5, 2)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_memory_starts_at_a_multiple_of_64_bytes(shape, dtype):
    for _ in range(5):
        array = aligned_empty(shape, dtype)
        assert (array.shape, array.dtype) == (shape, dtype)
        assert array.ctypes.data % 64 == 0
        array[...] = 1
        assert array.flags.c_contiguous
