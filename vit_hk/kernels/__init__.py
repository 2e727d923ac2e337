"""SIMD kernels for CPUs, JIT-compiled with LLVM: attention, MLP, LayerNorm, GELU, linear layers.

One more adds the gradients of a microbatch to their sums. XLA's CPU backend runs every step of a
softmax or LayerNorm as a separate loop, and reduces one element at a time. A kernel here reads its
elements once, keeps intermediate values in SIMD registers or in a cache, and adds what a residual
connection adds. Where the rows of an array are not made of whole SIMD vectors, the last one is
loaded and stored with a mask. Where a kernel does not support something, the model computes the
same results with jax.numpy. docs/performance.md says where that is, and what each kernel gains.
"""
