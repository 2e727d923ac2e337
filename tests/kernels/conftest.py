import pytest

from vit_hk.kernels import compiler
from vit_hk.kernels.compiler import SimdTarget

# NEON, AVX2 and AVX-512. If this processor has shorter vectors, LLVM splits the longer ones; if it
# has fewer registers, some values wait in memory.
SIMD_TARGETS = [SimdTarget(4, 32), SimdTarget(8, 16), SimdTarget(16, 32)]


@pytest.fixture(params=SIMD_TARGETS, ids=lambda target: f"{target.lanes}_lanes")
def simd_target(request, monkeypatch):
    for module in ("compiler", "attention", "class_token_attention", "linear", "mlp"):
        monkeypatch.setattr(f"vit_hk.kernels.{module}.simd_target", lambda: request.param)
    assert compiler.simd_target() == request.param
    return request.param
