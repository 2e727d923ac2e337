"""Kernels touch no memory outside of their arrays where rows end in a partial SIMD vector."""

import ctypes
import inspect
import itertools
import mmap

import jax
import numpy as np
import pytest

from vit_hk.kernels import compiler
from vit_hk.kernels.accumulate import accumulate
from vit_hk.kernels.attention import attend
from vit_hk.kernels.class_token_attention import attend_from_class_token
from vit_hk.kernels.gelu import gelu
from vit_hk.kernels.layer_norm import layer_norm, layer_norm_and_input
from vit_hk.kernels.linear import linear, linear_residual
from vit_hk.kernels.mlp import mlp_residual

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
# Small weights need no panel in a forward pass, and the panel of an MLP is for either matrix.
MAY_LEAVE_PANEL = {"linear_forward", "linear_residual_forward", "mlp_forward", "mlp_backward_x"}
KERNELS = MAY_LEAVE_PANEL | {
    "linear_backward_w_b", "linear_backward_x", "mlp_backward_w_b",
    "gelu_forward", "layer_norm_forward", "layer_norm_backward", "layer_norm_and_input_backward",
    "attention_forward", "attention_backward",
    "class_token_attention_forward", "class_token_attention_backward", "accumulate_in_place",
}  # fmt: skip


@pytest.fixture
def calls(monkeypatch):
    """The calls of kernels that JAX makes.

    Each is (emit, sizes, shapes of operands, shapes of results, aliases).
    """
    recorded = []

    def record(emit, sizes, operands, result_shapes, aliases=None):
        shapes = [np.shape(x) for x in operands]
        recorded.append((emit, sizes, shapes, result_shapes, aliases or {}))
        return compiler.call_kernel(emit, sizes, operands, result_shapes, aliases)

    modules = ["attention", "class_token_attention", "gelu", "layer_norm", "linear", "mlp"]
    for module in [*modules, "accumulate"]:
        monkeypatch.setattr(f"vit_hk.kernels.{module}.call_kernel", record)
    return recorded


def differentiate(function, *shapes):
    """Call a function and its gradient, for arrays of these shapes."""

    def run(*inputs):
        outputs, backward = jax.vjp(function, *inputs)
        return backward(outputs)

    jax.eval_shape(run, *(jax.ShapeDtypeStruct(shape, np.float32) for shape in shapes))


def linear_layers(in_size, out_size):
    x, w, b, residual = (ROWS, in_size), (in_size, out_size), (out_size,), (ROWS, out_size)
    differentiate(linear, x, w, b)
    differentiate(linear_residual, x, w, b, residual)
    differentiate(mlp_residual, x, w, b, w[::-1], x[1:], x)


def rows_alone(width):
    x, row = (ROWS, width), (width,)
    differentiate(gelu, x)
    differentiate(layer_norm, x, row, row)
    differentiate(layer_norm_and_input, x, row, row)


def attentions(num_tokens, num_heads, head_size):
    rows, width = 2 * num_tokens, num_heads * head_size
    differentiate(lambda qkv: attend(qkv, num_tokens, num_heads), (rows, 3 * width))
    differentiate(
        lambda x, w, b: attend_from_class_token(x, w, b, num_tokens, num_heads),
        (rows, width), (width, 3 * width), (3 * width,),
    )  # fmt: skip


def test_no_access_past_the_end_and_no_write_before_the_start(simd_target, calls):
    lanes = simd_target.lanes
    linear_layers(lanes + 3, 5 * lanes - 1)
    linear_layers(9 * lanes + 1, 1)
    linear_layers(1, lanes // 2)
    linear_layers(4 * lanes, 5 * lanes)  # whose panels have 4 and 3 SIMD vectors with AVX-512
    differentiate(linear, (ROWS, 520), (520, 510), (510,))  # large enough for panels
    rows_alone(1)
    rows_alone(2 * lanes + 3)
    attentions(5, 2, 3)
    attentions(lanes + 1, 1, lanes + 2)
    attentions(2, lanes + 1, 2)
    for size in (1, lanes + 3):  # of the last term, and the sums end with it
        arrays = np.zeros(2 * lanes + 1 + size), np.zeros((2, lanes)), np.zeros(1), np.zeros(size)
        sums, *terms = (np.float32(array) for array in arrays)
        jax.eval_shape(accumulate, sums, terms)
    assert {emit.__name__ for emit, *_ in calls} == KERNELS
    random = np.random.default_rng(0)
    for emit, sizes, operand_shapes, result_shapes, aliases in calls:
        name = compiler._compile(emit, simd_target, sizes, len(operand_shapes), len(result_shapes))
        operands, results = (
            [GuardedArray(shape) for shape in shapes] for shapes in (operand_shapes, result_shapes)
        )
        for operand in operands:
            operand.values[:] = random.uniform(0.5, 1.5, operand.values.shape)
        for position, result in aliases.items():
            results[result] = operands[position]
        before = [operand.whole.copy() for operand in operands]
        call_handler(name, [o.values for o in operands], [r.values for r in results])
        for position, (operand, content) in enumerate(zip(operands, before, strict=True)):
            if position not in aliases:
                np.testing.assert_array_equal(operand.whole, content)
        first_result = 3 + len(operands)  # after builder, rows and sizes
        names = list(inspect.signature(emit).parameters)[first_result:][: len(results)]
        for result_name, result in itertools.zip_longest(names, results):
            assert (result.before == SENTINEL).all()
            assert np.isfinite(result.values).all()
            is_written = (result.values.view(np.uint32) != 0xA5A5A5A5).all()
            may_be_unused = result_name == "panel" and emit.__name__ in MAY_LEAVE_PANEL
            assert is_written or may_be_unused, (emit, result_name)
