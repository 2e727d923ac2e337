"""LLVM, through llvmlite, and the types of its IR that kernels are made of.

Without llvmlite all of these names are None, and no kernel is supported. So it can be missing where
only a GPU computes.
"""

from importlib import import_module
from typing import Any


def _import(name: str) -> Any:
    """Return a module of llvmlite, or None where llvmlite is not installed."""
    try:
        return import_module(name)
    except ImportError:
        return None


llvmlite, llvm, ir = map(_import, ("llvmlite", "llvmlite.binding", "llvmlite.ir"))
I64: Any = ir and ir.IntType(64)
I32: Any = ir and ir.IntType(32)
FLOAT: Any = ir and ir.FloatType()
PTR: Any = ir and ir.PointerType()
