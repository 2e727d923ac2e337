"""The JIT compiler of kernels, from LLVM IR to machine code that JAX calls.

XLA calls a kernel through its foreign function interface. The structs are those of
xla/ffi/api/c_api.h, version 0.3: https://docs.jax.dev/en/latest/ffi.html.
"""

import ctypes
import functools
import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from vit_hk.kernels import object_cache
from vit_hk.kernels.llvm import I32, I64, PTR, ir, llvm, llvmlite
from vit_hk.kernels.vector_builder import Value, VectorBuilder

API_VERSION = 0, 3
# The positions of fields in XLA's structs, in words of 8 bytes.
CALL_FRAME_EXTENSION, CALL_FRAME_ARGS, CALL_FRAME_RETS = 1, 9, 14
EXTENSION_METADATA = 3
METADATA_API_VERSION = 3  # the major and the minor version, an int32 each
BUFFER_DATA, BUFFER_DIMS = 3, 5

# (builder, rows of the first operand, sizes, *operands, *results) emits the body of a kernel.
EmitKernel = Callable[..., None]

_COMPILER_LOCK = threading.Lock()  # an LLVM execution engine is not thread-safe


class SimdTarget(NamedTuple):
    """The properties of a processor's SIMD units that kernels depend on."""

    lanes: int  # float32 elements in a SIMD vector
    registers: int  # SIMD registers


@functools.cache
def simd_target() -> SimdTarget:
    """Return the SIMD target of this processor."""
    features = _features()
    if features.get("avx512f"):
        return SimdTarget(16, 32)
    if features.get("fma"):
        return SimdTarget(8, 16)
    return SimdTarget(4, 32 if features.get("neon") else 16)


@functools.cache
def has_fma() -> bool:
    """Return whether this processor has fused multiply-add, without which kernels are slow.

    LLVM would compile each one to a call of a library function, twenty times slower than XLA.
    """
    features = _features()
    return any(features.get(name) for name in ("fma", "avx512f", "neon"))


def _features() -> dict[str, bool]:
    """Return the features of this processor by LLVM's names; empty if it cannot detect them."""
    try:
        features = llvm.get_host_cpu_features() if llvm else {}
    except RuntimeError:
        return {}
    if features.get("avx512f"):
        # LLVM avoids 512-bit vectors by default: they lowered the clock of older processors.
        features["prefer-256-bit"] = False
    return features


def is_supported(x: jax.Array) -> bool:
    """Return whether kernels support x: float32 of any shape, on a CPU with FMA."""
    is_cpu = jax.default_backend() == "cpu" and has_fma()
    return x.dtype == jnp.float32 and is_cpu and are_switched_on()


def are_switched_on() -> bool:
    """Return False where the environment switches all kernels off, to compare: VIT_HK_KERNELS=0."""
    return os.environ.get("VIT_HK_KERNELS") != "0"


def call_kernel(
    emit: EmitKernel,
    sizes: tuple[int, ...],
    operands: Sequence[jax.Array],
    result_shapes: Sequence[tuple[int, ...]],
) -> Sequence[jax.Array]:
    """Return the results of a kernel, which is compiled on its first use.

    Args:
      emit: emits the body of the kernel.
      sizes: constants of the compiled kernel.
      operands: float32 arrays. The number of rows of the first is an argument of the compiled
        kernel, so that one kernel supports all batch sizes.
      result_shapes: the shapes of the results.

    Returns:
      float32 arrays.
    """
    with _COMPILER_LOCK:
        name = _compile(emit, simd_target(), sizes, len(operands), len(result_shapes))
    results = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in result_shapes]
    return jax.ffi.ffi_call(name, results)(*operands)


@functools.cache
def _compile(
    emit: EmitKernel,
    target: SimdTarget,
    sizes: tuple[int, ...],
    num_operands: int,
    num_results: int,
) -> str:
    """Compile a kernel, register it with XLA, and return its name there."""
    name = "_".join(["vit_hk", emit.__name__, *map(str, [*target, *sizes])])
    module = ir.Module(name)
    arguments = [I64, *[PTR] * (num_operands + num_results)]
    kernel = ir.Function(module, ir.FunctionType(ir.VoidType(), arguments), "kernel")
    kernel.linkage = "internal"
    rows, *arrays = kernel.args
    for array in arrays:
        array.add_attribute("noalias")
    ir_builder = ir.IRBuilder(kernel.append_basic_block())
    emit(VectorBuilder(ir_builder, *target), rows, sizes, *arrays)
    ir_builder.ret_void()
    _emit_handler(module, name, kernel, num_operands, num_results)
    address = ctypes.c_void_p(_compile_module(module, name))
    jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(address), platform="cpu")
    return name


def _emit_handler(
    module: "ir.Module", name: str, kernel: "ir.Function", num_operands: int, num_results: int
) -> None:
    """Emit the FFI handler, which XLA calls once for its API version, and then with arrays."""
    handler = ir.Function(module, ir.FunctionType(PTR, [PTR]), name)
    (call_frame,) = handler.args
    b = ir.IRBuilder(handler.append_basic_block())
    success = ir.Constant(PTR, None)

    def load_field(struct: Value, position: int, type_: "ir.Type" = PTR) -> Value:
        return b.load(b.gep(struct, [I64(position)], source_etype=I64), typ=type_)

    extension = load_field(call_frame, CALL_FRAME_EXTENSION)
    with b.if_then(b.icmp_unsigned("!=", extension, success)):
        metadata = load_field(extension, EXTENSION_METADATA)
        version = b.gep(metadata, [I64(METADATA_API_VERSION)], source_etype=I64)
        for index, number in enumerate(API_VERSION):
            b.store(I32(number), b.gep(version, [I64(index)], source_etype=I32))
        b.ret(success)
    operands = [
        load_field(load_field(call_frame, CALL_FRAME_ARGS), index) for index in range(num_operands)
    ]
    results = [
        load_field(load_field(call_frame, CALL_FRAME_RETS), index) for index in range(num_results)
    ]
    rows = load_field(load_field(operands[0], BUFFER_DIMS), 0, I64)
    b.call(kernel, [rows, *(load_field(buffer, BUFFER_DATA) for buffer in operands + results)])
    b.ret(success)


def _compile_module(module: "ir.Module", function_name: str) -> int:
    """Compile a module, and return the address of one of its functions."""
    engine, machine = _execution_engine()
    text = str(module)
    identity = [text, *machine, *map(str, llvm.llvm_version_info), llvmlite.__version__]
    parsed = llvm.parse_assembly(text)
    # The object cache stores the machine code of a module under the module's name.
    parsed.name = hashlib.sha256("\n".join(identity).encode()).hexdigest()
    engine.add_module(parsed)
    engine.finalize_object()
    return engine.get_function_address(function_name)


@functools.cache
def _execution_engine() -> "tuple[llvm.ExecutionEngine, tuple[str, str]]":
    """Return LLVM's JIT compiler and the CPU and features that it compiles for.

    The engine is cached, because compiled code lives only as long as its engine.
    """
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    cpu, features = llvm.get_host_cpu_name(), llvm.FeatureMap(_features()).flatten()
    machine = llvm.Target.from_default_triple().create_target_machine(cpu, features, opt=3)
    empty = llvm.parse_assembly("")
    engine = llvm.create_mcjit_compiler(empty, machine)
    engine.remove_module(empty)
    engine.set_object_cache(
        lambda module, code: object_cache.store(module.name, code),
        lambda module: object_cache.load(module.name),
    )
    return engine, (cpu, features)
