"""The parts of attention that are not products: transposition and softmax."""

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
    broadcast,
    call,
    each,
    floats,
    fused,
    ints,
    load,
    maximum,
    store,
    sum_lanes,
    word,
)

MASKED: Final = -1e30
"""Added to the scores of columns that are padding, so that they get no attention."""

_LOWEST: Final = -80.0
"""Below it e^x is taken as e^-80, which is negligible beside the largest power, e^0."""
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
    """Write the transpose of `source` [rows, columns] to `target` [columns, rows], float32.

    Both are addresses, with strides in bytes between rows. `rows` and `columns` are counted in
    registers of 16.
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
            for k, line in enumerate(_transposed(builder, lines)):
                place = builder.add(corner, builder.mul(target_stride, word(k)))
                store(builder, line, target, place)

        each(builder, rows, lambda down: each(builder, columns, lambda across: tile(down, across)))
        return context.get_dummy_value()

    return types.void(*[types.intp] * 6), generate


def _transposed(builder: Builder, lines: Sequence[Value]) -> list[Value]:
    """The columns of 16 registers: they are interleaved four times, which rotates the 8 bits of an
    index (row, column) by four."""
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
    """Softmax of `scores` plus `bias`, in place, for `rows` rows of `len(registers)` * 16."""
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
                highest = maximum(builder, highest, value)
            name = "llvm.vector.reduce.fmax.v16f32"
            top = call(builder, name, FLOATS.element, highest, fast=True)
            tops = broadcast(builder, top, FLOATS)
            powers = [_exponential(builder, builder.fsub(value, tops)) for value in values]
            total = powers[0]
            for power in powers[1:]:
                total = builder.fadd(total, power)
            share = builder.fdiv(ir.Constant(FLOATS.element, 1.0), sum_lanes(builder, total))
            shares = broadcast(builder, share, FLOATS)
            for place, power in zip(places, powers, strict=True):
                store(builder, builder.fmul(power, shares), scores, place)

        each(builder, rows, row)
        return context.get_dummy_value()

    return types.void(registers, *[types.intp] * 3), generate


def _exponential(builder: Builder, value: Value) -> Value:
    """e^value, for values up to 0."""
    value = maximum(builder, value, floats(_LOWEST))
    value = builder.fmul(value, floats(1 / math.log(2)))
    whole = call(builder, "llvm.nearbyint.v16f32", FLOATS, value)
    rest = builder.fsub(value, whole)
    result = floats(_POWERS[-1])
    for power in reversed(_POWERS[:-1]):
        result = fused(builder, result, rest, floats(power))
    # A float's exponent begins at bit 23: adding to it multiplies by a power of two.
    shift = builder.shl(builder.fptosi(whole, INTS), ints(23))
    return builder.bitcast(builder.add(builder.bitcast(result, INTS), shift), FLOATS)


transpose: Final[Any] = intrinsic(_transpose)
softmax: Final[Any] = intrinsic(_softmax)
