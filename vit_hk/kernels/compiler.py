"""The JIT compiler of kernels, from LLVM IR to machine code that JAX calls.

XLA calls a kernel through its foreign function interface. The structs are those of
xla/ffi/api/c_api.h, version 0.3: https://docs.jax.dev/en/latest/ffi.html.
"""

import ctypes
import functools
import hashlib
import os
import platform
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp

from vit_hk.kernels import object_cache
from vit_hk.kernels.llvm import I32, I64, PTR, ir, llvm, llvmlite
from vit_hk.kernels.vector_builder import Value, VectorBuilder

API_VERSION = 0, 3
# The positions of fields in XLA's structs, in words of 8 bytes.
CALL_FRAME_EXTENSION, CALL_FRAME_ARGS, CALL_FRAME_RETS = 1, 9, 14
EXTENSION_TYPE, EXTENSION_METADATA = 1, 3
METADATA_TYPE = 1  # the type of an extension that asks for the API version; an int32
METADATA_API_VERSION = 3  # the major and the minor version, an int32 each
BUFFER_DATA, BUFFER_DIMS = 3, 5

# (builder, rows of the first operand, sizes, *operands, *results) emits the body of a kernel.
EmitKernel = Callable[..., None]

# Of the code of all kernels, read when it is imported: a file may change while a process runs.
SOURCE_DIGEST = hashlib.sha256(
    b"".join(file.read_bytes() for file in sorted(Path(__file__).parent.glob("[!.]*.py")))
).hexdigest()

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
    return SimdTarget(4, 32)  # NEON; on other processors no kernel runs, see `has_fma`


@functools.cache
def has_fma() -> bool:
    """Return whether this processor has fused multiply-add, without which kernels are slow.

    LLVM would compile each one to a call of a library function, twenty times slower than XLA.
    """
    features = _features()
    return any(features.get(name) for name in ("fma", "avx512f", "neon"))


def _features() -> dict[str, bool]:
    """Return the features of this processor by LLVM's names; empty if it cannot detect them."""
    if not llvm:
        return {}
    features = llvm.get_host_cpu_features()
    if platform.machine().lower() in ("arm64", "aarch64"):
        features["neon"] = True  # all have it, and LLVM reports no features on macOS
    if features.get("avx512f"):
        # LLVM avoids 512-bit vectors by default: they lowered the clock of older processors.
        features["prefer-256-bit"] = False
    return features


def is_supported(*operands: jax.Array) -> bool:
    """Return whether kernels support these operands: all of them float32, on a CPU with FMA."""
    is_cpu = jax.default_backend() == "cpu" and has_fma()
    return all(x.dtype == jnp.float32 for x in operands) and is_cpu and kernels_enabled()


def kernels_enabled() -> bool:
    """Return False where the environment switches all kernels off, to compare: VIT_HK_KERNELS=0."""
    return os.environ.get("VIT_HK_KERNELS") != "0"


def call_kernel(
    emit: EmitKernel,
    sizes: tuple[int, ...],
    operands: Sequence[jax.Array],
    result_shapes: Sequence[tuple[int, ...]],
    aliases: dict[int, int] | None = None,
) -> Sequence[jax.Array]:
    """Return the results of a kernel, which is compiled on its first use.

    Args:
      emit: emits the body of the kernel.
      sizes: constants of the compiled kernel.
      operands: float32 arrays. The number of rows of the first is an argument of the compiled
        kernel, so that one kernel supports all batch sizes.
      result_shapes: the shapes of the results.
      aliases: the positions of operands whose memory a result takes, with the result's position.
        Such an operand and its result are one array, which the kernel may access only as the
        result.

    Returns:
      float32 arrays.
    """
    with _COMPILER_LOCK:
        name = _compile(emit, simd_target(), sizes, len(operands), len(result_shapes))
    results = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in result_shapes]
    return jax.ffi.ffi_call(name, results, input_output_aliases=aliases)(*operands)


@functools.cache
def _compile(
    emit: EmitKernel,
    target: SimdTarget,
    sizes: tuple[int, ...],
    num_operands: int,
    num_results: int,
) -> str:
    """Compile a kernel or load it from the object cache, and return its name in XLA."""
    name = "_".join(["vit_hk", emit.__name__, *map(str, [*target, *sizes])])
    engine, machine, processor = _execution_engine()
    versions = [*map(str, llvm.llvm_version_info), llvmlite.__version__]
    # All that the code of a kernel depends on, so that a kernel that was stored is not emitted.
    identity = [name, str(num_operands), str(num_results), SOURCE_DIGEST, *versions, machine.triple]
    key = hashlib.sha256("\n".join([*identity, *processor]).encode()).hexdigest()
    code = object_cache.load(key)
    if code is None:
        module = _emit_module(name, emit, target, sizes, num_operands, num_results)
        module.triple, module.data_layout = machine.triple, str(machine.target_data)
        code = machine.emit_object(llvm.parse_assembly(str(module)))
        object_cache.store(key, code)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    address = ctypes.c_void_p(engine.get_function_address(name))
    jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(address), platform="cpu")
    return name


def _emit_module(
    name: str,
    emit: EmitKernel,
    target: SimdTarget,
    sizes: tuple[int, ...],
    num_operands: int,
    num_results: int,
) -> "ir.Module":
    """Return the LLVM module of a kernel, with a function of this name that XLA can call."""
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
    return module


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
        extension_type = load_field(extension, EXTENSION_TYPE, I32)
        with b.if_then(b.icmp_unsigned("==", extension_type, I32(METADATA_TYPE))):
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


@functools.cache
def _execution_engine() -> "tuple[llvm.ExecutionEngine, llvm.TargetMachine, tuple[str, str]]":
    """Return what runs compiled code, what compiles it, and the CPU and features it is for.

    The engine is cached, because compiled code lives only as long as its engine.
    """
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    processor = llvm.get_host_cpu_name(), llvm.FeatureMap(_features()).flatten()

    def create_machine() -> "llvm.TargetMachine":
        target = llvm.Target.from_default_triple()
        return target.create_target_machine(*processor, opt=3)

    # An engine owns its machine.
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), create_machine())
    return engine, create_machine(), processor
