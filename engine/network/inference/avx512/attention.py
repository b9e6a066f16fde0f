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
    Code,
    Value,
    floats,
    ints,
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

    def generate(context: Any, llvm: Any, signature: Any, arguments: Any) -> Value:
        code = Code(llvm)
        source, source_stride, target, target_stride, rows, columns = arguments

        def tile(down: Value, across: Value) -> None:
            corner = code.mul(code.mul(down, source_stride), word(LANES))
            corner = code.add(corner, code.mul(across, word(REGISTER_BYTES)))
            lines = [
                code.load(
                    source,
                    code.add(corner, code.mul(source_stride, word(k))),
                    FLOATS,
                )
                for k in range(LANES)
            ]
            corner = code.mul(code.mul(across, target_stride), word(LANES))
            corner = code.add(corner, code.mul(down, word(REGISTER_BYTES)))
            for k, line in enumerate(_transposed(code, lines)):
                place = code.add(corner, code.mul(target_stride, word(k)))
                code.store(line, target, place)

        code.each(rows, lambda down: code.each(columns, lambda across: tile(down, across)))
        return context.get_dummy_value()

    return types.void(*[types.intp] * 6), generate


def _transposed(code: Code, lines: Sequence[Value]) -> list[Value]:
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
            code.shuffle_vector(lines[k // 2], lines[k // 2 + half], orders[k % 2])
            for k in range(LANES)
        ]
    return lines


def _softmax(typing_context: Any, registers: Any, scores: Any, bias: Any, rows: Any) -> Any:
    """Softmax of `scores` plus `bias`, in place, for `rows` rows of `len(registers)` * 16."""
    width = len(registers)

    def generate(context: Any, llvm: Any, signature: Any, arguments: Any) -> Value:
        code = Code(llvm)
        _, scores, bias, rows = arguments

        def row(index: Value) -> None:
            start = code.mul(index, word(width * REGISTER_BYTES))
            places = [code.add(start, word(k * REGISTER_BYTES)) for k in range(width)]
            values = [
                code.fadd(code.load(scores, place, FLOATS), code.load(bias, place, FLOATS))
                for place in places
            ]
            highest = values[0]
            for value in values[1:]:
                highest = code.maximum(highest, value)
            name = "llvm.vector.reduce.fmax.v16f32"
            top = code.call(name, FLOATS.element, highest, fast=True)
            tops = code.broadcast(top, FLOATS)
            powers = [_exponential(code, code.fsub(value, tops)) for value in values]
            total = powers[0]
            for power in powers[1:]:
                total = code.fadd(total, power)
            share = code.fdiv(ir.Constant(FLOATS.element, 1.0), code.sum_lanes(total))
            shares = code.broadcast(share, FLOATS)
            for place, power in zip(places, powers, strict=True):
                code.store(code.fmul(power, shares), scores, place)

        code.each(rows, row)
        return context.get_dummy_value()

    return types.void(registers, *[types.intp] * 3), generate


def _exponential(code: Code, value: Value) -> Value:
    """e^value, for values up to 0."""
    value = code.maximum(value, floats(_LOWEST))
    value = code.fmul(value, floats(1 / math.log(2)))
    whole = code.call("llvm.nearbyint.v16f32", FLOATS, value)
    rest = code.fsub(value, whole)
    result = floats(_POWERS[-1])
    for power in reversed(_POWERS[:-1]):
        result = code.fused(result, rest, floats(power))
    # A float's exponent begins at bit 23: adding to it multiplies by a power of two.
    shift = code.shl(code.fptosi(whole, INTS), ints(23))
    return code.bitcast(code.add(code.bitcast(result, INTS), shift), FLOATS)


transpose: Final[Any] = intrinsic(_transpose)
softmax: Final[Any] = intrinsic(_softmax)
