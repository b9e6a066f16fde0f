"""What attention needs besides products: a matrix turned over, and softmax."""

import math
from collections.abc import Sequence
from typing import Any, Final

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from engine.network.inference.avx512.code import (
    FLOATS,
    INTS,
    LANES,
    REGISTER_BYTES,
    Builder,
    Value,
    added_up,
    call,
    each,
    everywhere,
    floats,
    fused,
    ints,
    larger,
    load,
    store,
    word,
)

MASKED: Final = -1e30
"""A score that no square gets: added where there is no square."""

_LOWEST: Final = -80.0
"""Below it e^x counts as e^-80, which is nothing beside the largest, e^0."""
_POWERS: Final = tuple(math.log(2) ** n / math.factorial(n) for n in range(7))
"""2^x = e^(x ln 2) as a Taylor series, for x from -1/2 to 1/2: exact to 2e-7."""


def _transpose(
    typing_context: Any,
    source: Any,
    source_stride: Any,
    target: Any,
    target_stride: Any,
    rows: Any,
    columns: Any,
) -> Any:
    """Write `target` [columns, rows] of `source` [rows, columns], float32 at addresses.

    Rows are so many bytes apart; both counts are in registers of 16.
    """

    def generate(context: Any, builder: Builder, signature: Any, arguments: Any) -> Value:
        source, source_stride, target, target_stride, rows, columns = arguments

        def tile(down: Value, across: Value) -> None:
            corner = builder.mul(builder.mul(down, source_stride), word(LANES))
            corner = builder.add(corner, builder.mul(across, word(REGISTER_BYTES)))
            lines = [
                load(
                    builder,
                    source,
                    builder.add(corner, builder.mul(source_stride, word(k))),
                    FLOATS,
                )
                for k in range(LANES)
            ]
            corner = builder.mul(builder.mul(across, target_stride), word(LANES))
            corner = builder.add(corner, builder.mul(down, word(REGISTER_BYTES)))
            for k, line in enumerate(_turned(builder, lines)):
                place = builder.add(corner, builder.mul(target_stride, word(k)))
                store(builder, line, target, place)

        each(builder, rows, lambda down: each(builder, columns, lambda across: tile(down, across)))
        return context.get_dummy_value()

    return types.void(*[types.intp] * 6), generate


def _turned(builder: Builder, lines: Sequence[Value]) -> list[Value]:
    """16 registers as columns instead of rows: shuffled together like the halves of a deck of
    cards, four times, which turns the 8 bits of a place (row, column) by four."""
    half = LANES // 2
    orders = [
        ir.Constant(INTS, [lane // 2 + start + LANES * (lane % 2) for lane in range(LANES)])
        for start in (0, half)
    ]
    lines = list(lines)
    for _ in range(4):
        lines = [
            builder.shuffle_vector(lines[k // 2], lines[k // 2 + half], orders[k % 2])
            for k in range(LANES)
        ]
    return lines


def _softmax(typing_context: Any, registers: Any, scores: Any, bias: Any, rows: Any) -> Any:
    """Softmax of `scores` plus `bias`, in place: `rows` rows of `len(registers)` times 16."""
    width = len(registers)

    def generate(context: Any, builder: Builder, signature: Any, arguments: Any) -> Value:
        _, scores, bias, rows = arguments

        def row(index: Value) -> None:
            start = builder.mul(index, word(width * REGISTER_BYTES))
            places = [builder.add(start, word(k * REGISTER_BYTES)) for k in range(width)]
            values = [
                builder.fadd(
                    load(builder, scores, place, FLOATS), load(builder, bias, place, FLOATS)
                )
                for place in places
            ]
            highest = values[0]
            for value in values[1:]:
                highest = larger(builder, highest, value)
            name = "llvm.vector.reduce.fmax.v16f32"
            top = call(builder, name, FLOATS.element, highest, fast=True)
            tops = everywhere(builder, top, FLOATS)
            powers = [_exponential(builder, builder.fsub(value, tops)) for value in values]
            total = powers[0]
            for power in powers[1:]:
                total = builder.fadd(total, power)
            share = builder.fdiv(ir.Constant(FLOATS.element, 1.0), added_up(builder, total))
            shares = everywhere(builder, share, FLOATS)
            for place, power in zip(places, powers, strict=True):
                store(builder, builder.fmul(power, shares), scores, place)

        each(builder, rows, row)
        return context.get_dummy_value()

    return types.void(registers, *[types.intp] * 3), generate


def _exponential(builder: Builder, value: Value) -> Value:
    """e^value of numbers that are not positive."""
    value = larger(builder, value, floats(_LOWEST))
    value = builder.fmul(value, floats(1 / math.log(2)))
    whole = call(builder, "llvm.nearbyint.v16f32", FLOATS, value)
    rest = builder.fsub(value, whole)
    result = floats(_POWERS[-1])
    for power in reversed(_POWERS[:-1]):
        result = fused(builder, result, rest, floats(power))
    # A float's exponent stands in bits 23 and up: adding to it multiplies by a power of two.
    shift = builder.shl(builder.fptosi(whole, INTS), ints(23))
    return builder.bitcast(builder.add(builder.bitcast(result, INTS), shift), FLOATS)


transpose: Final[Any] = intrinsic(_transpose)
softmax: Final[Any] = intrinsic(_softmax)
