"""Makes machine code of what a kernel writes, and an operation of JAX of that.

XLA calls it through its foreign function interface, whose structures are those of
xla/ffi/api/c_api.h, version 0.3: https://docs.jax.dev/en/latest/ffi.html.
"""

import ctypes
import functools
import hashlib
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import llvmlite
import llvmlite.binding as llvm
from llvmlite import ir

from vit_hk.kernels import kept_code
from vit_hk.kernels.code import INT, INT32, POINTER, Code, Value

API_VERSION = 0, 3
# Where XLA's structures have what is needed, in words of 8 bytes.
EXTENSION, ARGUMENTS, RESULTS = 1, 9, 14  # of a call
METADATA, VERSION = 3, 3  # of an extension, of metadata
DATA, DIMENSIONS = 3, 5  # of an array

# (code, rows of the first operand, sizes, operands and results), writes the function's body.
Write = Callable[..., None]

_ONE_AT_A_TIME = threading.Lock()  # LLVM's compiler serves one thread


class Processor(NamedTuple):
    """What code has to fit."""

    lanes: int  # float32 numbers of a register
    registers: int


@functools.cache
def processor() -> Processor:
    """The one that computes this."""
    features = _features()
    if features.get("avx512f"):
        return Processor(16, 32)
    if features.get("fma"):
        return Processor(8, 16)
    return Processor(4, 32 if "neon" in features else 16)


def _features() -> llvm.FeatureMap:
    """What this processor has, by LLVM's names; nothing where LLVM cannot tell."""
    try:
        features = llvm.get_host_cpu_features()
    except RuntimeError:
        return llvm.FeatureMap()
    if features.get("avx512f"):
        # LLVM avoids registers of 512 bits, as they slowed the clock of older processors.
        features["prefer-256-bit"] = False
    return features


def fits(x: jax.Array, *sizes: int) -> bool:
    """Whether kernels take x: float32 on a CPU, where all these sizes are whole registers."""
    whole = all(size % processor().lanes == 0 for size in sizes)
    return whole and x.dtype == jnp.float32 and jax.default_backend() == "cpu"


def run(
    write: Write,
    sizes: tuple[int, ...],
    operands: Sequence[jax.Array],
    results: Sequence[tuple[int, ...]],
) -> Sequence[jax.Array]:
    """The results of a kernel.

    Args:
      write: writes the kernel.
      sizes: compiled into it, unlike the number of rows.
      operands: float32; the first has the rows that the kernel is told of.
      results: their shapes, float32.
    """
    with _ONE_AT_A_TIME:
        name = _compile(write, processor(), sizes, len(operands), len(results))
    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in results]
    return jax.ffi.ffi_call(name, shapes)(*operands)


@functools.cache
def _compile(
    write: Write, fitting: Processor, sizes: tuple[int, ...], operands: int, results: int
) -> str:
    """Give a kernel to XLA; returns the name that it has there."""
    name = "_".join(["vit_hk", write.__name__, *map(str, [*fitting, *sizes])])
    module = ir.Module(name)
    kernel = ir.Function(
        module, ir.FunctionType(ir.VoidType(), [INT, *[POINTER] * (operands + results)]), "kernel"
    )
    kernel.linkage = "internal"
    rows, *arrays = kernel.args
    for array in arrays:
        array.add_attribute("noalias")
    code = Code(ir.IRBuilder(kernel.append_basic_block()), *fitting)
    write(code, rows, sizes, *arrays)
    code.builder.ret_void()
    _write_handler(module, name, kernel, operands, results)
    address = ctypes.c_void_p(_machine_code(module, name))
    jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(address), platform="cpu")
    return name


def _write_handler(
    module: ir.Module, name: str, kernel: ir.Function, operands: int, results: int
) -> None:
    """The function that XLA calls: once to ask for the version, then with arrays."""
    handler = ir.Function(module, ir.FunctionType(POINTER, [POINTER]), name)
    (call,) = handler.args
    b = ir.IRBuilder(handler.append_basic_block())
    success = ir.Constant(POINTER, None)

    def word(structure: Value, index: int, type_: ir.Type = POINTER) -> Value:
        return b.load(b.gep(structure, [INT(index)], source_etype=INT), typ=type_)

    extension = word(call, EXTENSION)
    with b.if_then(b.icmp_unsigned("!=", extension, success)):
        version = b.gep(word(extension, METADATA), [INT(VERSION)], source_etype=INT)
        for index, number in enumerate(API_VERSION):
            b.store(INT32(number), b.gep(version, [INT(index)], source_etype=INT32))
        b.ret(success)
    given = [word(word(call, ARGUMENTS), index) for index in range(operands)]
    wanted = [word(word(call, RESULTS), index) for index in range(results)]
    rows = word(word(given[0], DIMENSIONS), 0, INT)
    b.call(kernel, [rows, *(word(array, DATA) for array in given + wanted)])
    b.ret(success)


def _machine_code(module: ir.Module, name: str) -> int:
    """The address of a function of the module."""
    compiler, machine = _compiler()
    text = str(module)
    made_of = [text, *machine, *map(str, llvm.llvm_version_info), llvmlite.__version__]
    parsed = llvm.parse_assembly(text)
    parsed.name = hashlib.sha256("\n".join(made_of).encode()).hexdigest()
    compiler.add_module(parsed)
    compiler.finalize_object()
    return compiler.get_function_address(name)


@functools.cache
def _compiler() -> tuple[llvm.ExecutionEngine, tuple[str, str]]:
    """And what it compiles for. It lives as long as the process, and so does its code."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    cpu, features = llvm.get_host_cpu_name(), _features().flatten()
    machine = llvm.Target.from_default_triple().create_target_machine(cpu, features, opt=3)
    empty = llvm.parse_assembly("")
    compiler = llvm.create_mcjit_compiler(empty, machine)
    compiler.remove_module(empty)
    compiler.set_object_cache(
        lambda module, code: kept_code.keep(module.name, code),
        lambda module: kept_code.read(module.name),
    )
    return compiler, (cpu, features)
