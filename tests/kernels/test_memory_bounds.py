"""Kernels touch no memory outside of their arrays where rows end in a partial SIMD vector."""

import ctypes
import mmap

import numpy as np

from vit_hk.kernels import compiler
from vit_hk.kernels.attention import attention_backward, attention_forward
from vit_hk.kernels.gelu import gelu_forward
from vit_hk.kernels.layer_norm import layer_norm_backward, layer_norm_forward
from vit_hk.kernels.linear import (
    linear_backward_w_b,
    linear_backward_x,
    linear_forward,
    linear_forward_in_panels,
)
from vit_hk.kernels.matmul import panel_width
from vit_hk.kernels.vector_builder import pad

SENTINEL = 0xA5
LIBC = ctypes.CDLL(None, use_errno=True)


class GuardedArray:
    """Float32 elements that end at a page which ends the process when it is touched."""

    def __init__(self, shape):
        size = 4 * int(np.prod(shape))
        pages = -(-(size + 64) // mmap.PAGESIZE)
        self.memory = mmap.mmap(-1, (pages + 1) * mmap.PAGESIZE)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        guard = ctypes.c_void_p(address + pages * mmap.PAGESIZE)
        assert LIBC.mprotect(guard, ctypes.c_size_t(mmap.PAGESIZE), 0) == 0  # PROT_NONE
        self.whole = np.frombuffer(self.memory, np.uint8, pages * mmap.PAGESIZE)
        self.whole[:] = SENTINEL
        self.before = self.whole[:-size]
        self.values = self.whole[-size:].view(np.float32).reshape(shape)


def words(*fields):
    return (ctypes.c_void_p * len(fields))(*fields)


def call_handler(name, operands, results):
    """Call a compiled kernel as XLA does, with the structs of xla/ffi/api/c_api.h."""
    kept = []

    def keep(*fields):
        kept.append(words(*fields))
        return ctypes.addressof(kept[-1])

    def buffer(array):
        dims = keep(*array.shape)
        return keep(None, None, None, array.ctypes.data, None, dims)

    arguments, returned = (keep(*map(buffer, arrays)) for arrays in (operands, results))
    frame = [None] * (compiler.CALL_FRAME_RETS + 1)
    frame[compiler.CALL_FRAME_ARGS], frame[compiler.CALL_FRAME_RETS] = arguments, returned
    engine, *_ = compiler._execution_engine()
    handler = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(engine.get_function_address(name))
    assert handler(keep(*frame)) is None


ROWS = 7


def linear_calls(in_size, out_size, target):
    x, w, b, out = (ROWS, in_size), (in_size, out_size), (out_size,), (ROWS, out_size)
    panel = in_size, panel_width(out_size, *target)
    panel_of_transpose = out_size, panel_width(in_size, *target)
    sizes = in_size, out_size
    yield linear_forward, sizes, [x, w, b], [out]
    yield linear_backward_w_b, sizes, [x, out], [w, b]
    yield linear_forward_in_panels, sizes, [x, w, b], [out, panel]
    yield linear_backward_x, sizes, [out, w], [x, panel_of_transpose]


def row_calls(width):
    x, row, column = (ROWS, width), (width,), (ROWS,)
    yield gelu_forward, row, [x], [x, x]
    yield layer_norm_forward, row, [x, row, row], [x, column, column]
    yield layer_norm_backward, row, [x, row, column, column, x], [x, row, row]


def attention_calls(num_tokens, num_heads, head_size, lanes):
    images, padded = 2, pad(num_tokens, lanes)
    qkv = images * num_tokens, 3 * num_heads * head_size
    out, scratch = (qkv[0], num_heads * head_size), (head_size, padded)
    weights = images, num_heads, num_tokens, padded
    sizes = num_tokens, num_heads, head_size
    yield attention_forward, sizes, [qkv], [out, weights, scratch]
    yield attention_backward, sizes, [qkv, weights, out], [qkv, weights[2:], scratch]


def test_no_access_past_the_end_and_no_write_before_the_start(simd_target):
    lanes = simd_target.lanes
    calls = [
        *linear_calls(lanes + 3, 5 * lanes - 1, simd_target),
        *linear_calls(9 * lanes + 1, 1, simd_target), *linear_calls(1, lanes // 2, simd_target),
        *row_calls(1), *row_calls(2 * lanes + 3),
        *attention_calls(5, 2, 3, lanes), *attention_calls(lanes + 1, 1, lanes + 2, lanes),
    ]  # fmt: skip
    random = np.random.default_rng(0)
    for emit, sizes, operand_shapes, result_shapes in calls:
        name = compiler._compile(emit, simd_target, sizes, len(operand_shapes), len(result_shapes))
        operands, results = (
            [GuardedArray(shape) for shape in shapes] for shapes in (operand_shapes, result_shapes)
        )
        for operand in operands:
            operand.values[:] = random.uniform(0.5, 1.5, operand.values.shape)
        before = [operand.whole.copy() for operand in operands]
        call_handler(name, [o.values for o in operands], [r.values for r in results])
        for operand, content in zip(operands, before, strict=True):
            np.testing.assert_array_equal(operand.whole, content)
        for result in results:
            assert (result.before == SENTINEL).all()
            assert np.isfinite(result.values).all()
            assert not (result.values.view(np.uint32) == 0xA5A5A5A5).any(), emit
