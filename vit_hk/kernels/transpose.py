"""Transposes of matrices in memory."""

from vit_hk.kernels.code import Code, Index, Value
from vit_hk.kernels.products import Matrix


def transpose(
    code: Code, source: Matrix, target: Matrix, rows: int, columns: int, factor: float = 1.0
) -> None:
    """Write target [columns, rows] = factor * source [rows, columns]^T.

    Columns are whole registers; of rows the target has room for whole registers, and where the
    source has none it becomes zero.
    """
    lanes = code.lanes

    def some_rows(start: Index, count: int) -> None:
        def block(number: Value) -> None:
            column = code.times(number, lanes)
            read = code.at(source.array, code.plus(code.times(start, source.next_row), column))
            write = code.at(target.array, code.plus(code.times(column, target.next_row), start))
            registers = [code.load(read, row * source.next_row) for row in range(count)]
            registers += [code.constant(0.0)] * (lanes - count)
            for row, register in enumerate(code.transpose(registers)):
                scaled = code.multiply(register, code.constant(factor))
                code.store(scaled, write, row * target.next_row)

        code.repeat(columns // lanes, block)

    code.in_parts(rows, lanes, some_rows)
