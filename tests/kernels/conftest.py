import pytest

from vit_hk.kernels import compiler
from vit_hk.kernels.compiler import Processor

# SSE, AVX2 and AVX-512. LLVM makes several registers of one that this processor does not have.
PROCESSORS = [Processor(4, 16), Processor(8, 16), Processor(16, 32)]


@pytest.fixture(params=PROCESSORS, ids=lambda processor: f"{processor.lanes}_lanes")
def processor(request, monkeypatch):
    for user in ("compiler", "attention"):
        monkeypatch.setattr(f"vit_hk.kernels.{user}.processor", lambda: request.param)
    assert compiler.processor() == request.param
    return request.param
