"""LLVM, through llvmlite, and the types of its IR that kernels are made of.

Without llvmlite all of these names are None, and no kernel is supported. So it can be missing where
only a GPU computes.
"""

try:
    import llvmlite
    import llvmlite.binding as llvm
    from llvmlite import ir
except ImportError:
    llvmlite = llvm = ir = I64 = I32 = FLOAT = PTR = None
else:
    I64, I32, FLOAT, PTR = ir.IntType(64), ir.IntType(32), ir.FloatType(), ir.PointerType()
