"""Queries, keys and values: one layer here, three in other formats, in this order."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def split_qkv(array: Any) -> tuple[Any, Any, Any]:
    """Split weights [D, 3D] or biases [3D] into those of queries, keys and values."""
    width = array.shape[-1] // 3
    return array[..., :width], array[..., width : 2 * width], array[..., 2 * width :]


def join_qkv(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Join weights [D, D] or biases [D] of queries, keys and values to [D, 3D] or [3D]."""
    return np.concatenate(parts, axis=-1)
