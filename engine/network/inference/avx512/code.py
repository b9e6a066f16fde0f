"""Building blocks of LLVM code for the AVX-512 kernels: loops, registers, constants."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from llvmlite import ir

Value = Any
"""llvmlite is untyped."""

LANES: Final = 16
"""float32 numbers in a register."""
REGISTER_BYTES: Final = 64

BYTE: Final = ir.IntType(8)
INT: Final = ir.IntType(32)
WORD: Final = ir.IntType(64)
FLOAT: Final = ir.FloatType()
INTS: Final = ir.VectorType(INT, LANES)
FLOATS: Final = ir.VectorType(FLOAT, LANES)
BYTES: Final = ir.VectorType(BYTE, LANES)


class _BFloat(ir.Type):  # type: ignore[misc]  # llvmlite is untyped, and knows no bfloat16
    """bfloat16."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash(_BFloat)


BFLOATS: Final = ir.VectorType(_BFloat(), LANES)
BFLOAT_PAIRS: Final = ir.VectorType(_BFloat(), 2 * LANES)


def word(value: int) -> Value:
    """A constant integer."""
    return ir.Constant(WORD, value)


def floats(value: float) -> Value:
    """A register of float32 with a constant in all lanes."""
    return ir.Constant(FLOATS, [value] * LANES)


def ints(value: int) -> Value:
    """A register of int32 with a constant in all lanes."""
    return ir.Constant(INTS, [value] * LANES)


class Code:
    """llvmlite's builder of instructions, and those that the kernels share."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder

    def __getattr__(self, name: str) -> Any:
        """An instruction of the builder."""
        return getattr(self.builder, name)

    def broadcast(self, value: Value, registers: Value) -> Value:
        """A register of that type with `value` in all lanes."""
        nothing = ir.Constant(registers, ir.Undefined)
        first = self.insert_element(nothing, value, ir.Constant(INT, 0))
        return self.shuffle_vector(first, nothing, ints(0))

    def pointer(self, address: Value, offset: Value, of: Value) -> Value:
        """A pointer to a value `offset` bytes after an address."""
        return self.inttoptr(self.add(address, offset), of.as_pointer())

    def load(self, address: Value, offset: Value, of: Value) -> Value:
        """The value there."""
        return self.builder.load(self.pointer(address, offset, of), align=4)

    def store(self, value: Value, address: Value, offset: Value) -> None:
        """Write the value there."""
        self.builder.store(value, self.pointer(address, offset, value.type), align=1)

    def maximum(self, one: Value, other: Value) -> Value:
        """The maximum of two in each lane."""
        return self.select(self.fcmp_ordered(">", one, other), one, other)

    def relu(self, value: Value) -> Value:
        """The maximum of each lane and 0."""
        return self.maximum(value, floats(0.0))

    def call(self, name: str, result: Value, *arguments: Value, fast: bool = False) -> Value:
        """Call an LLVM intrinsic; `fast` permits any order of additions and assumes no NaN."""
        known = self.module.globals.get(name)
        if known is None:
            signature = ir.FunctionType(result, [argument.type for argument in arguments])
            known = ir.Function(self.module, signature, name)
        return self.builder.call(known, arguments, fastmath=("reassoc", "nnan") if fast else ())

    def sum_lanes(self, value: Value) -> Value:
        """The sum of a register's lanes."""
        start = ir.Constant(FLOAT, 0.0)
        return self.call("llvm.vector.reduce.fadd.v16f32", FLOAT, start, value, fast=True)

    def loop(
        self,
        low: Value,
        high: Value,
        carried: Sequence[Value],
        body: Callable[[Value, list[Value]], Sequence[Value]],
    ) -> list[Value]:
        """`for k in range(low, high): carried = body(k, carried)`; returns the last `carried`."""
        before = self.block
        head, inside, after = (self.function.append_basic_block() for _ in range(3))
        self.branch(head)
        self.position_at_end(head)
        counter = self.phi(WORD)
        counter.add_incoming(low, before)
        values = [self.phi(value.type) for value in carried]
        for phi, value in zip(values, carried, strict=True):
            phi.add_incoming(value, before)
        self.cbranch(self.icmp_signed("<", counter, high), inside, after)
        self.position_at_end(inside)
        following = body(counter, values)
        counter.add_incoming(self.add(counter, word(1)), self.block)
        for phi, value in zip(values, following, strict=True):
            phi.add_incoming(value, self.block)
        self.branch(head)
        self.position_at_end(after)
        return values

    def each(self, count: Value, body: Callable[[Value], None]) -> None:
        """`for k in range(count): body(k)`."""

        def step(counter: Value, carried: list[Value]) -> Sequence[Value]:
            body(counter)
            return carried

        self.loop(word(0), count, [], step)

    def fused(self, value: Value, factor: Value, term: Value) -> Value:
        """`value * factor + term`, rounded once."""
        return self.call("llvm.fma.v16f32", FLOATS, value, factor, term)

    def convert(self, value: Value, bytes_: int) -> Value:
        """A register of float32 as numbers of `bytes_` bytes: float32, bfloat16, or 0 to 255.

        The last are rounded and clipped.
        """
        if bytes_ == 4:
            return value
        if bytes_ == 2:
            return self.fptrunc(value, BFLOATS)
        all_lanes, nearest = ir.Constant(ir.IntType(LANES), -1), ir.Constant(INT, 4)
        name = "llvm.x86.avx512.mask.cvtps2dq.512"
        rounded = self.call(name, INTS, self.relu(value), ints(0), all_lanes, nearest)
        name = "llvm.x86.avx512.mask.pmovus.db.512"
        return self.call(name, BYTES, rounded, ir.Constant(BYTES, [0] * LANES), all_lanes)
