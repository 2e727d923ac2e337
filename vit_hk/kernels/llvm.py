"""LLVM, through llvmlite, and the types of its IR that kernels are made of.

Without llvmlite all of these names are None, and no kernel is supported. So it can be missing where
only a GPU computes.
"""

from typing import Any

try:
    import llvmlite
    import llvmlite.binding as llvm
    from llvmlite import ir
except ImportError:
    llvmlite = llvm = ir = None

__all__ = ["FLOAT", "I32", "I64", "PTR", "ir", "llvm", "llvmlite"]

I64: Any = ir and ir.IntType(64)
I32: Any = ir and ir.IntType(32)
FLOAT: Any = ir and ir.FloatType()
PTR: Any = ir and ir.PointerType()
