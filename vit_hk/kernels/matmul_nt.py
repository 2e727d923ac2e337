"""Multiplication by a transposed matrix, as part of a kernel."""

from vit_hk.kernels.matmul import Epilogue, Matrix, matmul_in_panels
from vit_hk.kernels.transpose import transpose
from vit_hk.kernels.vector_builder import Index, Value, VectorBuilder


def matmul_nt(
    builder: VectorBuilder, a: Matrix, b: Matrix, out: Matrix,
    m: Index, k: int, n: int, panel: Value, epilogue: Epilogue | None = None,
) -> None:  # fmt: skip
    """Emit out = a b^T, and the epilogue.

    It transposes b panel by panel, since `matmul` loads SIMD vectors from the rows of its second
    matrix.

    Args:
      builder: the builder of the kernel.
      a: [m, k].
      b: [n, k], with column_stride 1.
      out: [m, n], with column_stride 1.
      m: the number of rows of a.
      k: the number of columns of a and b.
      n: the number of rows of b.
      panel: the pointer to scratch memory [k, panel width]; see `panel_width`.
      epilogue: what happens to a b^T, or None.
    """

    def transpose_rows(target: Matrix, start: Index, width: int) -> None:
        transpose(builder, b.block(builder, start), target, width, k)

    matmul_in_panels(builder, a, transpose_rows, out, m, k, n, panel, epilogue=epilogue)
