"""A builder of LLVM IR for kernels: SIMD vectors of float32, arrays in memory and loops."""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from vit_hk.kernels.llvm import FLOAT, I32, I64, ir

Value = Any  # an llvmlite value: a ptr, an i64, a float or a SIMD vector of floats
Index = Value | int  # an i64 that is known at run time, or an int that is known at compile time

# 2^x = sum of a_n x^n for -0.5 <= x <= 0.5, with a relative error of at most 2e-9. A minimax fit:
# least squares, reweighted until all peaks of the error were equal.
EXP2_COEFFICIENTS = [
    1.0000000006,
    0.6931472057,
    0.2402264689,
    0.0555032878,
    0.0096184890,
    0.0013399931,
    1.534581e-4,
]
ROUNDING_SHIFT = 1.5 * 2**23  # x + ROUNDING_SHIFT holds round(x) in its lowest bits
MIN_EXPONENT = -126.0  # of a normal float32


class VectorBuilder:
    """A builder of the body of one LLVM function that computes with SIMD vectors of float32.

    Arithmetic methods work lane by lane. Offsets in memory count float32 elements.

    Attributes:
      lanes: the number of float32 elements in a SIMD vector.
      registers: the number of SIMD registers of the target.
    """

    def __init__(self, ir_builder: "ir.IRBuilder", lanes: int, registers: int) -> None:
        """Emit instructions where `ir_builder` is positioned."""
        self.lanes = lanes
        self.registers = registers
        self._ir = ir_builder
        self._vector = ir.VectorType(FLOAT, lanes)
        self._int_vector = ir.VectorType(I32, lanes)
        self._undefined = ir.Constant(self._vector, ir.Undefined)

    def index_add(self, a: Index, b: Index) -> Index:
        """Return the index a + b, computed at compile time if both are known by then."""
        return (
            a + b if isinstance(a, int) and isinstance(b, int) else self._ir.add(_i64(a), _i64(b))
        )

    def index_mul(self, a: Index, b: int) -> Index:
        """Return the index a * b, computed at compile time if both are known by then."""
        return a * b if isinstance(a, int) else self._ir.mul(a, I64(b))

    def index_divmod(self, a: Value, b: int) -> tuple[Value, Value]:
        """Return the quotient and the remainder of an unsigned division of i64."""
        return self._ir.udiv(a, I64(b)), self._ir.urem(a, I64(b))

    def offset_pointer(self, pointer: Value, offset: Index) -> Value:
        """Return the pointer that is `offset` float32 elements further."""
        return self._ir.gep(pointer, [_i64(offset)], source_etype=FLOAT)

    def vectors(self, size: int) -> list[tuple[int, int]]:
        """Return the offset of each SIMD vector of a row, and how many of its lanes are in the row.

        That is all lanes, but for the last vector of a row that is not made of whole ones.
        """
        return [(start, min(self.lanes, size - start)) for start in range(0, size, self.lanes)]

    def load(self, pointer: Value, offset: Index = 0, count: int | None = None) -> Value:
        """Load a vector of consecutive elements.

        Args:
          pointer: the pointer to an array.
          offset: the element of the first lane.
          count: the number of lanes to load, at least 1; no memory is read for the others, which
            are 0. None for all lanes.
        """
        source = self.offset_pointer(pointer, offset)
        if count in (None, self.lanes):
            return self._ir.load(source, align=4, typ=self._vector)
        zeros = self.splat(0.0)
        return self._masked("load", self._vector, source, self._mask(count), zeros)

    def load_splat(self, pointer: Value, offset: Index = 0) -> Value:
        """Load one element into all lanes of a vector."""
        return self.splat(self._ir.load(self.offset_pointer(pointer, offset), align=4, typ=FLOAT))

    def store(
        self, vector: Value, pointer: Value, offset: Index = 0, count: int | None = None
    ) -> None:
        """Store the first `count` lanes of a vector, or all of them, to consecutive elements."""
        target = self.offset_pointer(pointer, offset)
        if count in (None, self.lanes):
            self._ir.store(vector, target, align=4)
        else:
            self._masked("store", ir.VoidType(), vector, target, self._mask(count))

    def store_scalar(self, vector: Value, pointer: Value, offset: Index = 0) -> None:
        """Store the first lane of a vector to one element."""
        scalar = self._ir.extract_element(vector, I32(0))
        self._ir.store(scalar, self.offset_pointer(pointer, offset), align=4)

    def splat(self, scalar: float | Value) -> Value:
        """Return a vector with a Python float or a scalar value in all lanes."""
        if isinstance(scalar, float):
            return ir.Constant(self._vector, [scalar] * self.lanes)
        first_lane = self._ir.insert_element(self._undefined, scalar, I32(0))
        return self._shuffle(first_lane, self._undefined, [0] * self.lanes)

    def add(self, a: Value, b: Value) -> Value:
        """Return a + b."""
        return self._ir.fadd(a, b)

    def sub(self, a: Value, b: Value) -> Value:
        """Return a - b."""
        return self._ir.fsub(a, b)

    def mul(self, a: Value, b: Value) -> Value:
        """Return a * b."""
        return self._ir.fmul(a, b)

    def div(self, a: Value, b: Value) -> Value:
        """Return a / b."""
        return self._ir.fdiv(a, b)

    def fma(self, a: Value, b: Value, c: Value) -> Value:
        """Return a * b + c, rounded once (fused multiply-add)."""
        return self._intrinsic("fma", a, b, c)

    def sqrt(self, x: Value) -> Value:
        """Return the square root of x."""
        return self._intrinsic("sqrt", x)

    def abs(self, x: Value) -> Value:
        """Return the absolute value of x."""
        return self._intrinsic("fabs", x)

    def maximum(self, bound: Value, x: Value) -> Value:
        """Return the maximum of both, or x where one of them is NaN."""
        return self.select(self.compare(">", bound, x), bound, x)

    def minimum(self, bound: Value, x: Value) -> Value:
        """Return the minimum of both, or x where one of them is NaN."""
        return self.select(self.compare("<", bound, x), bound, x)

    def zero_after(self, count: int, x: Value) -> Value:
        """Return x with 0 in all lanes but the first `count`."""
        return x if count == self.lanes else self.select(self._mask(count), x, self.splat(0.0))

    def compare(self, predicate: str, a: Value, b: Value) -> Value:
        """Return a mask of the lanes where the predicate ("<", ">=", …) holds; false for NaN."""
        return self._ir.fcmp_ordered(predicate, a, b)

    def select(self, mask: Value, if_true: Value, if_false: Value) -> Value:
        """Return `if_true` in the lanes where the mask is true, and `if_false` in the others."""
        return self._ir.select(mask, if_true, if_false)

    def polynomial(self, coefficients: Sequence[float], x: Value) -> Value:
        """Return the sum of coefficients[n] * x^n, by Horner's rule."""
        return functools.reduce(
            lambda sum_, coefficient: self.fma(sum_, x, self.splat(coefficient)),
            reversed(coefficients[:-1]),
            self.splat(coefficients[-1]),
        )

    def exp2(self, x: Value) -> Value:
        """Return 2^x for x <= 0; below x = -126, where 2^x is not normal, the result is 0."""
        shifted = self.add(x, self.splat(ROUNDING_SHIFT))
        fraction = self.sub(x, self.sub(shifted, self.splat(ROUNDING_SHIFT)))
        exponent = self._ir.shl(
            self._ir.bitcast(shifted, self._int_vector),
            ir.Constant(self._int_vector, [23] * self.lanes),
        )
        mantissa = self._ir.bitcast(self.polynomial(EXP2_COEFFICIENTS, fraction), self._int_vector)
        power = self._ir.bitcast(self._ir.add(mantissa, exponent), self._vector)
        underflows = self.compare("<", x, self.splat(MIN_EXPONENT))
        zero_or_nan = self.select(underflows, self.splat(0.0), x)
        return self.select(self.compare(">=", x, self.splat(MIN_EXPONENT)), power, zero_or_nan)

    def reduce_sum(self, x: Value) -> Value:
        """Return the sum over all lanes, in all lanes."""
        distance = self.lanes // 2
        while distance:
            rotated = [(lane + distance) % self.lanes for lane in range(self.lanes)]
            x = self.add(x, self._shuffle(x, self._undefined, rotated))
            distance //= 2
        return x

    def transpose(self, rows: Iterable[Value]) -> list[Value]:
        """Transpose a [lanes, lanes] matrix that is given as one vector per row."""
        rows, half = list(rows), self.lanes // 2
        interleaved = [lane // 2 + lane % 2 * self.lanes for lane in range(self.lanes)]
        for _ in range(self.lanes.bit_length() - 1):
            pairs = zip(rows[:half], rows[half:], strict=True)
            rows = [
                self._shuffle(a, b, [lane + start for lane in interleaved])
                for a, b in pairs
                for start in (0, half)
            ]
        return rows

    def for_loop(
        self, count: Index, body: Callable[..., Iterable[Value] | None], *init: Value
    ) -> list[Value]:
        """Emit a loop of `count` iterations, and return its final values.

        Args:
          count: the number of iterations.
          body: (index, *values) -> values of the next iteration; called once, to emit the
            instructions of an iteration.
          *init: the values of the first iteration.
        """
        b = self._ir
        preheader = b.block
        header, loop_body, exit_ = (b.append_basic_block() for _ in range(3))
        b.branch(header)
        b.position_at_end(header)
        index, *values = phis = [b.phi(type_) for type_ in [I64, *(value.type for value in init)]]
        b.cbranch(b.icmp_signed("<", index, _i64(count)), loop_body, exit_)
        b.position_at_end(loop_body)
        updated = [*(body(index, *values) or [])]
        updated = [b.add(index, I64(1)), *updated]
        for phi, first, next_ in zip(phis, [I64(0), *init], updated, strict=True):
            phi.add_incoming(first, preheader)
            phi.add_incoming(next_, b.block)
        b.branch(header)
        b.position_at_end(exit_)
        return values

    def tiled_loop(self, count: Index, tile_size: int, body: Callable[[Index, int], Any]) -> None:
        """Emit a loop over tiles of `tile_size` iterations, and code for the remainder.

        Args:
          count: the number of iterations in all tiles and the remainder.
          tile_size: the number of iterations in a tile.
          body: (start, size), emits the instructions of a tile. The remainder is one smaller
            tile if `count` is known at compile time, otherwise tiles of size 1.
        """
        full, remainder = (
            divmod(count, tile_size)
            if isinstance(count, int)
            else self.index_divmod(count, tile_size)
        )
        self.for_loop(full, lambda n: body(self.index_mul(n, tile_size), tile_size))
        start = self.index_mul(full, tile_size)
        if not isinstance(count, int):
            self.for_loop(remainder, lambda n: body(self.index_add(start, n), 1))
        elif remainder:
            body(start, remainder)

    def _mask(self, count: int) -> Value:
        """Return the mask of the first `count` lanes."""
        mask_type = ir.VectorType(ir.IntType(1), self.lanes)
        return ir.Constant(mask_type, [lane < count for lane in range(self.lanes)])

    def _masked(self, operation: str, result: "ir.Type", *operands: Value) -> Value:
        """Call llvm.masked.load or llvm.masked.store."""
        name = f"llvm.masked.{operation}.v{self.lanes}f32.p0"
        return self._call(name, result, operands)

    def _shuffle(self, a: Value, b: Value, lanes: list[int]) -> Value:
        return self._ir.shuffle_vector(a, b, ir.Constant(self._int_vector, lanes))

    def _intrinsic(self, operation: str, *operands: Value) -> Value:
        return self._call(f"llvm.{operation}.v{self.lanes}f32", self._vector, operands)

    def _call(self, name: str, result: "ir.Type", operands: Sequence[Value]) -> Value:
        """Call a function of LLVM, which is declared on its first use."""
        module = self._ir.module
        function = module.globals.get(name) or ir.Function(
            module, ir.FunctionType(result, [operand.type for operand in operands]), name
        )
        return self._ir.call(function, operands)


def pad(size: int, lanes: int) -> int:
    """Round a size up to whole SIMD vectors."""
    return -(-size // lanes) * lanes


def _i64(index: Index) -> Value:
    return I64(index) if isinstance(index, int) else index
