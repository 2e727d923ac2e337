"""Writes LLVM instructions: registers of float32 numbers, arrays in memory, loops."""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from llvmlite import ir

INT, INT32, FLOAT, POINTER = ir.IntType(64), ir.IntType(32), ir.FloatType(), ir.PointerType()
Value = Any  # of a pointer, an INT, a FLOAT, or a register
Index = Value | int

# 2^x = sum of a_n x^n for -0.5 <= x <= 0.5, relative error 2e-9: weighted least squares whose
# weights were changed until no error was larger than the others.
EXP2 = [
    1.0000000006,
    0.6931472057,
    0.2402264689,
    0.0555032878,
    0.0096184890,
    0.0013399931,
    1.534581e-4,
]
ROUNDING = 1.5 * 2**23  # added to a number, leaves its integer in the lowest bits
LEAST_EXPONENT = -126.0


class Code:
    """Of one function. Offsets in memory count float32 numbers."""

    def __init__(self, builder: ir.IRBuilder, lanes: int, registers: int) -> None:
        """Write where the builder stands, for registers of so many numbers."""
        self.builder = builder
        self.lanes = lanes
        self.registers = registers
        self.vector = ir.VectorType(FLOAT, lanes)
        self._bits = ir.VectorType(INT32, lanes)
        self._anything = ir.Constant(self.vector, ir.Undefined)

    def plus(self, a: Index, b: Index) -> Index:
        """Of two indices."""
        return (
            a + b
            if isinstance(a, int) and isinstance(b, int)
            else self.builder.add(_int(a), _int(b))
        )

    def times(self, a: Index, b: int) -> Index:
        """Of two indices."""
        return a * b if isinstance(a, int) else self.builder.mul(a, INT(b))

    def divide_index(self, a: Value, b: int) -> tuple[Value, Value]:
        """How often b goes into a, and what is left."""
        return self.builder.udiv(a, INT(b)), self.builder.urem(a, INT(b))

    def at(self, array: Value, offset: Index) -> Value:
        """The array from this offset on."""
        return self.builder.gep(array, [_int(offset)], source_etype=FLOAT)

    def load(self, array: Value, offset: Index = 0) -> Value:
        """A register of the numbers that stand there."""
        return self.builder.load(self.at(array, offset), align=4, typ=self.vector)

    def load_one(self, array: Value, offset: Index = 0) -> Value:
        """A register that has this number in all its lanes."""
        return self.spread(self.builder.load(self.at(array, offset), align=4, typ=FLOAT))

    def store(self, register: Value, array: Value, offset: Index = 0) -> None:
        """Write all lanes."""
        self.builder.store(register, self.at(array, offset), align=4)

    def store_one(self, register: Value, array: Value, offset: Index = 0) -> None:
        """Write the first lane."""
        first = self.builder.extract_element(register, INT32(0))
        self.builder.store(first, self.at(array, offset), align=4)

    def constant(self, number: float) -> Value:
        """A register with this number in all lanes."""
        return ir.Constant(self.vector, [number] * self.lanes)

    def spread(self, number: Value) -> Value:
        """The same for a number that is known later."""
        first = self.builder.insert_element(self._anything, number, INT32(0))
        return self._shuffle(first, self._anything, [0] * self.lanes)

    def add(self, a: Value, b: Value) -> Value:
        """Lane by lane, as all that follow."""
        return self.builder.fadd(a, b)

    def subtract(self, a: Value, b: Value) -> Value:
        """The difference a - b."""
        return self.builder.fsub(a, b)

    def multiply(self, a: Value, b: Value) -> Value:
        """The product a b."""
        return self.builder.fmul(a, b)

    def divide(self, a: Value, b: Value) -> Value:
        """The ratio a / b."""
        return self.builder.fdiv(a, b)

    def multiply_add(self, a: Value, b: Value, c: Value) -> Value:
        """The sum a b + c, rounded once."""
        return self._call("fma", a, b, c)

    def square_root(self, x: Value) -> Value:
        """Of x."""
        return self._call("sqrt", x)

    def magnitude(self, x: Value) -> Value:
        """Of x, without its sign."""
        return self._call("fabs", x)

    def at_least(self, bound: Value, x: Value) -> Value:
        """The larger of both; x where that is not a number."""
        return self.where(">", bound, x, bound, x)

    def at_most(self, bound: Value, x: Value) -> Value:
        """The smaller of both; x where that is not a number."""
        return self.where("<", bound, x, bound, x)

    def where(self, comparison: str, a: Value, b: Value, if_so: Value, if_not: Value) -> Value:
        """One of two, after a comparison of two numbers that no number passes which is none."""
        return self.builder.select(self.builder.fcmp_ordered(comparison, a, b), if_so, if_not)

    def polynomial(self, factors: Sequence[float], x: Value) -> Value:
        """The sum of factors[n] x^n."""
        return functools.reduce(
            lambda sum_, factor: self.multiply_add(sum_, x, self.constant(factor)),
            reversed(factors[:-1]),
            self.constant(factors[-1]),
        )

    def exp2(self, x: Value) -> Value:
        """2^x for x of at most 0; for x below -126 the smallest normal number."""
        x = self.at_least(self.constant(LEAST_EXPONENT), x)
        shifted = self.add(x, self.constant(ROUNDING))
        rest = self.subtract(x, self.subtract(shifted, self.constant(ROUNDING)))
        exponent = self.builder.shl(
            self.builder.bitcast(shifted, self._bits), ir.Constant(self._bits, [23] * self.lanes)
        )
        bits = self.builder.bitcast(self.polynomial(EXP2, rest), self._bits)
        return self.builder.bitcast(self.builder.add(bits, exponent), self.vector)

    def sum_of_lanes(self, x: Value) -> Value:
        """In all lanes."""
        distance = self.lanes // 2
        while distance:
            turned = [(lane + distance) % self.lanes for lane in range(self.lanes)]
            x = self.add(x, self._shuffle(x, self._anything, turned))
            distance //= 2
        return x

    def transpose(self, rows: Iterable[Value]) -> list[Value]:
        """The columns of a square matrix, of which each register has a row."""
        rows, half = list(rows), self.lanes // 2
        mixed = [lane // 2 + lane % 2 * self.lanes for lane in range(self.lanes)]
        for _ in range(self.lanes.bit_length() - 1):
            pairs = zip(rows[:half], rows[half:], strict=True)
            rows = [
                self._shuffle(a, b, [lane + start for lane in mixed])
                for a, b in pairs
                for start in (0, half)
            ]
        return rows

    def repeat(
        self, count: Index, body: Callable[..., Iterable[Value] | None], *first: Value
    ) -> list[Value]:
        """A loop: values = body(index, *values), from `first` on, `count` times."""
        b = self.builder
        before = b.block
        check, inside, after = (b.append_basic_block() for _ in range(3))
        b.branch(check)
        b.position_at_end(check)
        index, *values = phis = [b.phi(type_) for type_ in [INT, *(value.type for value in first)]]
        b.cbranch(b.icmp_signed("<", index, _int(count)), inside, after)
        b.position_at_end(inside)
        new = [*(body(index, *values) or [])]
        new = [b.add(index, INT(1)), *new]
        for phi, at_first, later in zip(phis, [INT(0), *first], new, strict=True):
            phi.add_incoming(at_first, before)
            phi.add_incoming(later, b.block)
        b.branch(check)
        b.position_at_end(after)
        return values

    def in_parts(self, count: Index, size: int, write: Callable[[Index, int], Any]) -> None:
        """Call write(start, size) for each part of `count` things, and write(start, n) for n left.

        Of a count that is known only later, those left come one by one.
        """
        full, left = (
            divmod(count, size) if isinstance(count, int) else self.divide_index(count, size)
        )
        self.repeat(full, lambda n: write(self.times(n, size), size))
        first_left = self.times(full, size)
        if not isinstance(count, int):
            self.repeat(left, lambda n: write(self.plus(first_left, n), 1))
        elif left:
            write(first_left, left)

    def _shuffle(self, a: Value, b: Value, lanes: list[int]) -> Value:
        return self.builder.shuffle_vector(a, b, ir.Constant(self._bits, lanes))

    def _call(self, operation: str, *registers: Value) -> Value:
        name = f"llvm.{operation}.v{self.lanes}f32"
        module = self.builder.module
        function = module.globals.get(name) or ir.Function(
            module, ir.FunctionType(self.vector, [self.vector] * len(registers)), name
        )
        return self.builder.call(function, registers)


def _int(index: Index) -> Value:
    return INT(index) if isinstance(index, int) else index
