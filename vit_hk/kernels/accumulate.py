"""The sum of the gradients of microbatches, as a kernel.

One call adds all gradients of a model: XLA would call an addition for each parameter, and for
biases the call takes longer than the addition.
"""

from collections.abc import Sequence

import jax

from vit_hk.kernels.compiler import call_kernel
from vit_hk.kernels.vector_builder import Index, Value, VectorBuilder


def accumulate(sums: jax.Array, terms: Sequence[jax.Array]) -> jax.Array:
    """Return sums + the concatenated elements of all terms.

    Args:
      sums: float32 [n]; the result takes its memory.
      terms: float32 arrays of any shape, with n elements in all.

    Returns:
      float32 [n].
    """
    sizes = tuple(term.size for term in terms)
    (out,) = call_kernel(accumulate_in_place, sizes, [sums, *terms], [sums.shape], aliases={0: 0})
    return out


def accumulate_in_place(
    builder: VectorBuilder, _rows: Value, sizes: tuple[int, ...], _sums: Value, *arrays: Value
) -> None:
    """Emit the kernel; `sizes` are those of the terms, and the last array is sums and result."""
    *terms, sums = arrays
    start = 0
    for term, size in zip(terms, sizes, strict=True):
        _add(builder, term, builder.offset_pointer(sums, start), size)
        start += size


def _add(builder: VectorBuilder, term: Value, sums: Value, size: int) -> None:
    """Emit sums += term for `size` elements."""

    def add_vector(offset: Index, count: int) -> None:
        sum_ = builder.add(builder.load(sums, offset, count), builder.load(term, offset, count))
        builder.store(sum_, sums, offset, count)

    builder.tiled_loop(size, builder.lanes, add_vector)
