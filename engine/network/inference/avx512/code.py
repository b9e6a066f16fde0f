"""Building blocks of LLVM code for the AVX-512 kernels: loops, registers, constants."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from llvmlite import ir

Builder = Any
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


def broadcast(builder: Builder, value: Value, registers: Value) -> Value:
    """A register of that type with `value` in all lanes."""
    nothing = ir.Constant(registers, ir.Undefined)
    first = builder.insert_element(nothing, value, ir.Constant(INT, 0))
    return builder.shuffle_vector(first, nothing, ints(0))


def pointer(builder: Builder, address: Value, offset: Value, of: Value) -> Value:
    """A pointer to a value `offset` bytes after an address."""
    return builder.inttoptr(builder.add(address, offset), of.as_pointer())


def load(builder: Builder, address: Value, offset: Value, of: Value) -> Value:
    """The value there."""
    return builder.load(pointer(builder, address, offset, of), align=4)


def store(builder: Builder, value: Value, address: Value, offset: Value) -> None:
    """Write the value there."""
    builder.store(value, pointer(builder, address, offset, value.type), align=1)


def maximum(builder: Builder, one: Value, other: Value) -> Value:
    """The maximum of two in each lane."""
    return builder.select(builder.fcmp_ordered(">", one, other), one, other)


def relu(builder: Builder, value: Value) -> Value:
    """The maximum of each lane and 0."""
    return maximum(builder, value, floats(0.0))


def call(
    builder: Builder, name: str, result: Value, *arguments: Value, fast: bool = False
) -> Value:
    """Call an LLVM intrinsic; `fast` permits any order of additions and assumes no NaN."""
    known = builder.module.globals.get(name)
    if known is None:
        signature = ir.FunctionType(result, [argument.type for argument in arguments])
        known = ir.Function(builder.module, signature, name)
    return builder.call(known, arguments, fastmath=("reassoc", "nnan") if fast else ())


def sum_lanes(builder: Builder, value: Value) -> Value:
    """The sum of a register's lanes."""
    start = ir.Constant(FLOAT, 0.0)
    return call(builder, "llvm.vector.reduce.fadd.v16f32", FLOAT, start, value, fast=True)


def loop(
    builder: Builder,
    low: Value,
    high: Value,
    carried: Sequence[Value],
    body: Callable[[Value, list[Value]], Sequence[Value]],
) -> list[Value]:
    """`for k in range(low, high): carried = body(k, carried)`; returns the last `carried`."""
    before = builder.block
    head, inside, after = (builder.function.append_basic_block() for _ in range(3))
    builder.branch(head)
    builder.position_at_end(head)
    counter = builder.phi(WORD)
    counter.add_incoming(low, before)
    values = [builder.phi(value.type) for value in carried]
    for phi, value in zip(values, carried, strict=True):
        phi.add_incoming(value, before)
    builder.cbranch(builder.icmp_signed("<", counter, high), inside, after)
    builder.position_at_end(inside)
    following = body(counter, values)
    counter.add_incoming(builder.add(counter, word(1)), builder.block)
    for phi, value in zip(values, following, strict=True):
        phi.add_incoming(value, builder.block)
    builder.branch(head)
    builder.position_at_end(after)
    return values


def each(builder: Builder, count: Value, body: Callable[[Value], None]) -> None:
    """`for k in range(count): body(k)`."""

    def step(counter: Value, carried: list[Value]) -> Sequence[Value]:
        body(counter)
        return carried

    loop(builder, word(0), count, [], step)


def fused(builder: Builder, value: Value, factor: Value, term: Value) -> Value:
    """`value * factor + term`, rounded once."""
    return call(builder, "llvm.fma.v16f32", FLOATS, value, factor, term)


def convert(builder: Builder, value: Value, bytes_: int) -> Value:
    """A register of float32 as numbers of `bytes_` bytes: float32, bfloat16, or 0 to 255.

    The last are rounded and clipped.
    """
    if bytes_ == 4:
        return value
    if bytes_ == 2:
        return builder.fptrunc(value, BFLOATS)
    all_lanes, nearest = ir.Constant(ir.IntType(LANES), -1), ir.Constant(INT, 4)
    name = "llvm.x86.avx512.mask.cvtps2dq.512"
    rounded = call(builder, name, INTS, relu(builder, value), ints(0), all_lanes, nearest)
    name = "llvm.x86.avx512.mask.pmovus.db.512"
    return call(builder, name, BYTES, rounded, ir.Constant(BYTES, [0] * LANES), all_lanes)
