import re
import threading
from pathlib import Path

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vit_hk.kernels import compiler
from vit_hk.kernels.attention import attention_backward, attention_forward
from vit_hk.kernels.code import Code
from vit_hk.kernels.compiler import API_VERSION, fits, run
from vit_hk.kernels.gelu import gelu_forward
from vit_hk.kernels.layer_norm import WIDEST, layer_norm
from vit_hk.kernels.linear import linear, linear_backward, linear_backward_x, linear_forward
from vit_hk.model.normalization import layer_norm as model_layer_norm


def test_the_interface_is_the_one_that_jaxlib_describes():
    header = (Path(jax.ffi.include_dir()) / "xla/ffi/api/c_api.h").read_text("utf-8")
    described = (
        re.search(rf"#define XLA_FFI_API_{part} (\d+)", header) for part in ("MAJOR", "MINOR")
    )
    assert tuple(int(found[1]) for found in described) == API_VERSION


def powers(code: Code, rows, shape, x, result):
    code.repeat(
        rows,
        lambda row: code.store(
            code.exp2(code.load(x, code.times(row, *shape))), result, code.times(row, *shape)
        ),
    )


def test_powers_of_two_are_right_to_a_rounding(processor):
    x = np.linspace(-126, 0, 2**16, dtype=np.float32).reshape(-1, processor.lanes)
    (found,) = run(powers, (processor.lanes,), [x], [x.shape])
    np.testing.assert_allclose(found, np.exp2(x.astype(np.float64)), rtol=2 * 2.0**-24)


def test_the_same_kernel_serves_any_number_of_rows():
    w, b = jnp.ones((3, 16)), jnp.ones(16)
    linear(jnp.ones((4, 3)), w, b)
    before = compiler._compile.cache_info().misses
    assert linear(jnp.ones((9, 3)), w, b).shape == (9, 16)
    assert compiler._compile.cache_info().misses == before


def test_a_row_has_the_same_bits_among_others_as_alone():
    random = np.random.default_rng(0)
    x, w, b = (random.normal(size=s).astype(np.float32) for s in [(13, 48), (48, 80), (80,)])
    together = linear(x, w, b)
    np.testing.assert_array_equal(
        together, np.concatenate([linear(row[np.newaxis], w, b) for row in x])
    )


def test_threads_may_need_the_same_kernel_at_the_same_time():
    """The training loop compiles its functions in threads."""
    start, results = threading.Barrier(4), []
    x = np.random.default_rng(0).normal(size=(2, 208)).astype(np.float32)

    def normalize():
        start.wait()
        results.append(np.asarray(layer_norm(x, x[0], x[1])))

    threads = [threading.Thread(target=normalize) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({result.tobytes() for result in results}) == 1
    assert len(results) == 4


def test_what_kernels_take(monkeypatch, processor):
    x, lanes = jnp.ones((2, 3 * processor.lanes)), processor.lanes
    assert fits(x, lanes, 5 * lanes)
    assert not fits(x, lanes, lanes // 2)
    assert not fits(x.astype(jnp.bfloat16), lanes)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert not fits(x, lanes)


@pytest.mark.parametrize(
    ("features", "lanes"),
    [
        ({"avx512f": True, "fma": True}, 16),
        ({"avx512f": False, "fma": True}, 8),
        ({"neon": True}, 4),
        ({}, 4),
    ],
)
def test_registers_are_those_of_the_processor(monkeypatch, features, lanes):
    monkeypatch.setattr("llvmlite.binding.get_host_cpu_features", lambda: features)
    assert compiler.processor.__wrapped__().lanes == lanes


def test_a_processor_that_llvm_does_not_know(monkeypatch):
    def fail():
        raise RuntimeError

    monkeypatch.setattr("llvmlite.binding.get_host_cpu_features", fail)
    assert compiler.processor.__wrapped__().lanes == 4


def test_code_does_not_grow_with_the_width():
    """Else a mistake in params.yaml, a width of a million, would be compiled for hours."""
    wide, deep = 16 * 10**6, 10**6
    for write, sizes, operands, results in [
        (linear_forward, (deep, wide), 3, 1),
        (linear_backward, (deep, wide), 2, 2),
        (linear_backward_x, (deep, wide), 2, 2),
        (gelu_forward, (wide,), 1, 2),
        (attention_forward, (5, deep, 16), 1, 3),
        (attention_backward, (5, 3, wide), 3, 3),
    ]:
        compiler._compile(write, compiler.processor(), sizes, operands, results)


@pytest.mark.parametrize("width", [WIDEST, WIDEST + 16])
def test_layer_norm_of_a_wide_row(width):
    norm = hk.transform(lambda x: model_layer_norm(x, "norm"))
    params = norm.init(None, jnp.ones((1, width)))
    x = np.random.default_rng(0).normal(size=(2, width)).astype(np.float32)
    program = str(jax.make_jaxpr(lambda x: norm.apply(params, None, x))(x))
    assert ("ffi_call" in program) == (width <= WIDEST)
    expected = (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)
    np.testing.assert_allclose(norm.apply(params, None, x), expected, atol=1e-5)
