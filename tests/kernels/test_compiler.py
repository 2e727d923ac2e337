import re
import runpy
import sys
import threading
from pathlib import Path

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vit_hk.kernels import compiler, llvm
from vit_hk.kernels.attention import attention_backward, attention_forward
from vit_hk.kernels.class_token_attention import (
    class_token_attention_backward,
    class_token_attention_forward,
)
from vit_hk.kernels.compiler import API_VERSION, call_kernel, is_supported
from vit_hk.kernels.gelu import gelu_forward
from vit_hk.kernels.layer_norm import EPSILON, MAX_WIDTH, layer_norm
from vit_hk.kernels.linear import (
    MIN_ELEMENTS_FOR_PANELS,
    linear,
    linear_backward_w_b,
    linear_backward_x,
    linear_forward,
    linear_residual_forward,
)
from vit_hk.kernels.mlp import mlp_backward_w_b, mlp_backward_x, mlp_forward
from vit_hk.kernels.vector_builder import VectorBuilder
from vit_hk.model.layer_norm import layer_norm as model_layer_norm


def test_api_version_is_one_that_jaxlib_calls():
    header = (Path(jax.ffi.include_dir()) / "xla/ffi/api/c_api.h").read_text("utf-8")
    matches = (
        re.search(rf"#define XLA_FFI_API_{part} (\d+)", header) for part in ("MAJOR", "MINOR")
    )
    found = tuple(int(match[1]) for match in matches)
    assert found[0] == API_VERSION[0]
    assert found >= API_VERSION  # XLA calls handlers of earlier minor versions


def exp2_kernel(builder: VectorBuilder, rows, sizes, x, out):
    def one_row(row):
        offset = builder.index_mul(row, *sizes)
        builder.store(builder.exp2(builder.load(x, offset)), out, offset)

    builder.for_loop(rows, one_row)


def test_exp2_has_a_relative_error_of_at_most_float32_epsilon(simd_target):
    x = np.linspace(-126, 0, 2**16, dtype=np.float32).reshape(-1, simd_target.lanes)
    (actual,) = call_kernel(exp2_kernel, (simd_target.lanes,), [x], [x.shape])
    np.testing.assert_allclose(actual, np.exp2(x.astype(np.float64)), rtol=2.0**-23)


def test_one_kernel_serves_any_number_of_rows():
    w, b = jnp.ones((3, 16)), jnp.ones(16)
    linear(jnp.ones((4, 3)), w, b)
    before = compiler._compile.cache_info().misses
    assert linear(jnp.ones((9, 3)), w, b).shape == (9, 16)
    assert compiler._compile.cache_info().misses == before


def test_a_row_has_the_same_bits_in_a_batch_as_alone():
    random = np.random.default_rng(0)
    x, w, b = (random.normal(size=s).astype(np.float32) for s in [(13, 48), (48, 80), (80,)])
    row_by_row = np.concatenate([linear(row[np.newaxis], w, b) for row in x])
    np.testing.assert_array_equal(linear(x, w, b), row_by_row)


def test_threads_can_call_a_new_kernel_at_the_same_time():
    # The training loop compiles its functions in threads.
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


def test_float32_on_a_cpu_is_supported(monkeypatch):
    x = jnp.ones((2, 3))
    assert is_supported(x)
    assert not is_supported(x.astype(jnp.bfloat16))
    assert is_supported(x, x)
    assert not is_supported(x, x.astype(jnp.bfloat16))  # a kernel would read it as float32
    with monkeypatch.context() as context:
        context.setenv("VIT_HK_KERNELS", "0")
        assert not is_supported(x)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert not is_supported(x)


@pytest.mark.parametrize(
    ("features", "lanes"),
    [
        ({"avx512f": True, "fma": True}, 16),
        ({"avx512f": False, "fma": True}, 8),
        ({"neon": True}, 4),
        ({}, 4),
    ],
)
def test_lanes_follow_the_features_of_the_processor(monkeypatch, features, lanes):
    monkeypatch.setattr("llvmlite.binding.get_host_cpu_features", lambda: features)
    assert compiler.simd_target.__wrapped__().lanes == lanes


@pytest.mark.parametrize(
    ("features", "machine", "is_fast"),
    [
        ({"avx512f": True, "fma": True}, "x86_64", True),
        ({"fma": True, "avx2": True}, "x86_64", True),
        ({"neon": True}, "aarch64", True),
        ({}, "arm64", True),  # macOS
        ({"avx": True, "fma": False}, "x86_64", False),  # Ivy Bridge
        ({"sse4.2": True}, "AMD64", False),  # Nehalem, or a virtual machine that masks features
        ({}, "x86_64", False),
    ],
    ids=str,
)
def test_without_fused_multiply_add_no_kernel_is_used(monkeypatch, features, machine, is_fast):
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr("llvmlite.binding.get_host_cpu_features", lambda: features)
    monkeypatch.setattr(compiler, "has_fma", compiler.has_fma.__wrapped__)
    monkeypatch.setattr(compiler, "simd_target", compiler.simd_target.__wrapped__)
    assert is_supported(jnp.ones((2, 64))) == is_fast


def test_code_size_does_not_grow_with_the_sizes():
    # Otherwise a mistake in params.yaml, a width of a million, would compile for hours.
    wide, deep = 16 * 10**6 + 5, 10**6
    for emit, sizes, num_operands, num_results in [
        (linear_forward, (1, MIN_ELEMENTS_FOR_PANELS - 3), 3, 2),
        (linear_forward, (MIN_ELEMENTS_FOR_PANELS - 3, 1), 3, 2),
        (linear_forward, (deep, wide), 3, 2),
        (linear_residual_forward, (deep, wide), 4, 2),
        (linear_backward_w_b, (deep, wide), 2, 2),
        (linear_backward_x, (deep, wide), 2, 2),
        (gelu_forward, (wide,), 1, 2),
        (mlp_forward, (deep, wide), 6, 4),
        (mlp_backward_x, (deep, wide), 4, 3),
        (mlp_backward_w_b, (deep, wide), 4, 4),
        (attention_forward, (5, deep, 16), 1, 3),
        (attention_backward, (5, 3, wide), 3, 3),
        (attention_forward, (deep, 3, 16), 1, 3),
        (attention_backward, (deep, 3, 16), 3, 3),
        (class_token_attention_forward, (5, deep, 16), 3, 7),
        (class_token_attention_backward, (5, 3, wide), 7, 9),
        (class_token_attention_forward, (deep, 3, 16), 3, 7),
        (class_token_attention_backward, (deep, 3, 16), 7, 9),
    ]:
        compiler._compile(emit, compiler.simd_target(), sizes, num_operands, num_results)


@pytest.mark.parametrize("width", [MAX_WIDTH, MAX_WIDTH + 16])
def test_layer_norm_has_a_kernel_up_to_the_maximum_width(width):
    norm = hk.transform(lambda x: model_layer_norm(x, EPSILON, "norm"))
    params = norm.init(None, jnp.ones((1, width)))
    x = np.random.default_rng(0).normal(size=(2, width)).astype(np.float32)
    program = str(jax.make_jaxpr(lambda x: norm.apply(params, None, x))(x))
    assert ("ffi_call" in program) == (width <= MAX_WIDTH)
    expected = (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)
    np.testing.assert_allclose(norm.apply(params, None, x), expected, atol=1e-5)


@pytest.mark.parametrize("machine", ["x86_64", "arm64"])
def test_without_llvmlite_modules_load_and_no_kernel_is_supported(monkeypatch, project, machine):
    monkeypatch.setattr("platform.machine", lambda: machine)
    for name in ("llvmlite", "llvmlite.binding", "llvmlite.ir"):
        monkeypatch.setitem(sys.modules, name, None)  # its import fails
    names = runpy.run_path(str(project / "vit_hk/kernels/llvm.py"))
    for name in ("llvmlite", "llvm", "ir", "I64", "I32", "FLOAT", "PTR"):
        assert names[name] is None
        monkeypatch.setattr(llvm, name, None)
    runpy.run_path(str(project / "vit_hk/kernels/vector_builder.py"))
    module = runpy.run_path(str(project / "vit_hk/kernels/compiler.py"))
    assert not module["is_supported"](jnp.ones((2, 64)))
