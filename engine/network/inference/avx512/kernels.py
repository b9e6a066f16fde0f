"""Convolutions and linear layers for boards so small that a row of one fits in the registers.

A row of the board is one tile of accumulators. Taps of a convolution that would read outside the
board are left out instead of multiplied by zero:

    squares of the row      outputs, 16 to a register
        s = 0 .. W-1            n = 0 .. blocks-1        W * blocks accumulators

    for each tap row ky inside the board, for each group k of input channels:
        for each kx, n:     weights = one register: 16 outputs x the group
            for each s:     accumulator[s - kx + 1, n] += group k of square s . weights

A group is four bytes: four 8-bit numbers (`vpdpbusd`, unsigned times signed), two bfloat16
(`vdpbf16ps`) or one float32. All precisions share everything but this instruction. Linear layers
are convolutions of one tap, and so are the two products of attention.

In all of avx512, *quantised* numbers are those that products are made of, in the precision of the
kernel (8 bits, bfloat16 or float32); *fp32* numbers are sums and the stream, always float32.

Numba has no vectors, so the code is written in LLVM's language. Arrays are passed as addresses.
What is fixed when a kernel is compiled is passed as the length of a tuple, which is part of its
type.
"""

from collections.abc import Sequence
from typing import Any, Final

from llvmlite import ir
from numba import types
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from engine.network.inference.avx512.code import (
    BFLOAT_PAIRS,
    FLOAT,
    FLOATS,
    INT,
    INTS,
    LANES,
    REGISTER_BYTES,
    Code,
    Value,
    floats,
    word,
)
from engine.rules.compilation.decorators import JIT_ENABLED

Fixed = tuple[int, ...]

INT8: Final = (0,)
BF16: Final = (0, 0)
FP32: Final = (0, 0, 0, 0)
"""The precision of the products; the length is the bytes of a number."""

ONE_TAP: Final = (0,)
THREE_TAPS: Final = (0, 0, 0)

RELU: Final = (0,)
"""What a convolution writes: the sum's ReLU, quantised;"""
STREAM: Final = (0, 0)
"""the ReLU of the sum plus `fp32`, to `fp32` and quantised;"""
ADD: Final = (0, 0, 0)
"""the sum plus `fp32`, to `fp32`;"""
PUT: Final = (0, 0, 0, 0)
"""the sum, to `fp32`."""

GROUP_BYTES: Final = 4
_REGISTERS: Final = 32
_MOST_BLOCKS: Final = 4


def available_numbers() -> tuple[Fixed, ...]:
    """Those of INT8, BF16 and FP32 for which numba's target here has the instructions.

    NUMBA_CPU_NAME and NUMBA_ENABLE_AVX may restrict the target below the processor: LLVM aborts the
    process at an instruction that its target lacks.
    """
    if not JIT_ENABLED:
        return ()
    needs = {INT8: "+avx512vnni", BF16: "+avx512bf16", FP32: "+avx512f"}
    _, _, target = cpu_target.target_context.codegen().magic_tuple()
    features = set(target.split(","))
    if not {"+avx512f", "+avx512bw", "+avx512vl"} <= features:
        return ()
    return tuple(number for number, name in needs.items() if name in features)


def blocks_for(files: int, outputs: int) -> Fixed:
    """The registers of outputs in a tile, as a length; `outputs` is a multiple of 16."""
    room = (_REGISTERS - 1) // files - 1
    fitting = [n for n in range(1, _MOST_BLOCKS + 1) if outputs // LANES % n == 0 and n <= room]
    return (0,) * max(fitting)


class _Tile:
    """Writes the code of a tile. Sizes given as Python numbers are compiled in."""

    def __init__(self, code: Code, files: int, blocks: int, taps: int, bytes_: int) -> None:
        self.code = code
        self.files, self.blocks, self.taps, self.bytes = files, blocks, taps, bytes_
        self.sums = INTS if bytes_ == 1 else FLOATS

    def dot(self, total: Value, group: Value, weights: Value) -> Value:
        """`total` plus the products of a group of inputs and the weights of 16 outputs."""
        code = self.code
        if self.bytes == 1:
            name = "llvm.x86.avx512.vpdpbusd.512"
            return code.call(name, INTS, total, group, weights)
        if self.bytes == 2:
            pairs = [code.bitcast(value, BFLOAT_PAIRS) for value in (group, weights)]
            return code.call("llvm.x86.avx512bf16.dpbf16ps.512", FLOATS, total, *pairs)
        return code.fused(code.bitcast(group, FLOATS), code.bitcast(weights, FLOATS), total)

    def row(
        self,
        source: Value,
        stride: Value,
        weights: Value,
        group_bytes: Value,
        rank: Value,
        ranks: Value,
        groups: Value,
    ) -> list[Value]:
        """The sums [files * blocks] of one row of the board."""
        code, reach = self.code, self.taps // 2
        first = code.icmp_signed("==", rank, word(0))
        last = code.icmp_signed("==", rank, code.sub(ranks, word(1)))
        low = code.select(first, word(reach), word(0))
        high = code.select(last, word(self.taps - reach), word(self.taps))
        row_bytes = code.mul(stride, word(self.files))
        tap_bytes = code.mul(groups, group_bytes)

        def tap_row(tap: Value, sums: list[Value]) -> Sequence[Value]:
            source_rank = code.sub(code.add(rank, tap), word(reach))
            inputs = code.add(source, code.mul(source_rank, row_bytes))
            matrix = code.add(weights, code.mul(tap, tap_bytes))

            def group(index: Value, sums: list[Value]) -> Sequence[Value]:
                group_inputs = code.add(inputs, code.mul(index, word(GROUP_BYTES)))
                group_weights = code.add(matrix, code.mul(index, group_bytes))
                return self.products(group_inputs, stride, group_weights, sums)

            return code.loop(word(0), groups, sums, group)

        zero = ir.Constant(self.sums, None)
        return code.loop(low, high, [zero] * (self.files * self.blocks), tap_row)

    def products(
        self, inputs: Value, stride: Value, weights: Value, sums: list[Value]
    ) -> list[Value]:
        """`sums` plus the products of one group of one row of squares."""
        code, sums = self.code, list(sums)
        loaded, offset = [], word(0)
        for _ in range(self.files):
            loaded.append(code.broadcast(code.load(inputs, offset, INT), INTS))
            offset = code.add(offset, stride)
        for tap in range(self.taps):
            for block in range(self.blocks):
                place = word((tap * self.blocks + block) * REGISTER_BYTES)
                vector = code.load(weights, place, INTS)
                for square in range(self.files):
                    target = square - tap + self.taps // 2
                    if 0 <= target < self.files:
                        index = target * self.blocks + block
                        sums[index] = self.dot(sums[index], loaded[square], vector)
        return sums

    def write(
        self,
        totals: list[Value],
        targets: dict[str, Value],
        role: int,
        square: Value,
        column: Value,
    ) -> None:
        """Scale a row's sums and write them as `role` says, beginning at a square and a column."""
        code = self.code
        for block in range(self.blocks):
            first = code.add(column, word(block * LANES))
            bytes_ = code.mul(first, word(4))
            scale = code.load(targets["scales"], bytes_, FLOATS)
            for file in range(self.files):
                total = totals[file * self.blocks + block]
                value = code.sitofp(total, FLOATS) if self.bytes == 1 else total
                place = code.add(square, word(file))
                offset = code.add(code.mul(place, targets["bias_stride"]), bytes_)
                bias = code.load(targets["biases"], offset, FLOATS)
                value = code.fused(value, scale, bias)
                self.write_square(value, targets, role, place, first)

    def write_square(
        self, value: Value, targets: dict[str, Value], role: int, square: Value, column: Value
    ) -> None:
        """Write 16 outputs of one square."""
        code = self.code
        bytes_ = code.mul(column, word(4))
        fp32_offset = code.add(code.mul(square, targets["fp32_stride"]), bytes_)
        if role in (len(STREAM), len(ADD)):
            value = code.fadd(value, code.load(targets["fp32"], fp32_offset, FLOATS))
        if role in (len(STREAM), len(RELU)):
            value = code.relu(value)
        if role != len(RELU):
            code.store(value, targets["fp32"], fp32_offset)
        if role == len(STREAM):
            value = code.fmul(value, targets["unit"])
        if role in (len(STREAM), len(RELU)):
            converted = code.convert(value, self.bytes)
            place = code.mul(column, word(self.bytes))
            place = code.add(code.mul(square, targets["quantised_stride"]), place)
            code.store(converted, targets["quantised"], place)


_TARGETS: Final = (
    "scales",
    "biases",
    "bias_stride",
    "fp32",
    "fp32_stride",
    "quantised",
    "quantised_stride",
)


def _convolve(
    typing_context: Any,
    files: Any,
    blocks: Any,
    taps: Any,
    number: Any,
    role: Any,
    source: Any,
    stride: Any,
    weights: Any,
    group_bytes: Any,
    part_bytes: Any,
    scales: Any,
    biases: Any,
    bias_stride: Any,
    fp32: Any,
    fp32_stride: Any,
    quantised: Any,
    quantised_stride: Any,
    ranks: Any,
    groups: Any,
    parts: Any,
    unit: Any,
) -> Any:
    """Convolve a board of `ranks` by `len(files)` squares.

    `len(taps)` is 3, or 1 for a linear layer of each square. `len(number)` is the bytes of a
    number. Outputs come in `parts` parts of `len(blocks)` registers. The arrays are addresses and
    their strides are in bytes: `source` with `stride` from square to square and `groups` groups
    each; `weights` with `group_bytes` from group to group and `part_bytes` from part to part;
    `scales`, one float32 per output; `biases`, likewise, with `bias_stride` from square to square
    or 0; `fp32` and `quantised` with strides from square to square. Sums are multiplied by the
    scales, the biases are added, and the result is written as `role` says. STREAM multiplies by
    `unit` before it quantises.
    """
    fixed = [len(length) for length in (files, blocks, taps, number)]
    written = len(role)

    def generate(context: Any, llvm: Any, signature: Any, arguments: Any) -> Value:
        code = Code(llvm)
        source, stride, weights, group_bytes, part_bytes = arguments[5:10]
        ranks, groups, parts, unit = arguments[17:]
        targets = dict(zip(_TARGETS, arguments[10:17], strict=True))
        targets["unit"] = code.broadcast(unit, FLOATS)
        tile = _Tile(code, *fixed)

        def part(index: Value) -> None:
            part_weights = code.add(weights, code.mul(index, part_bytes))
            columns = code.mul(index, word(tile.blocks * LANES))

            def row(rank: Value) -> None:
                sums = tile.row(source, stride, part_weights, group_bytes, rank, ranks, groups)
                squares = code.mul(rank, word(tile.files))
                tile.write(sums, targets, written, squares, columns)

            code.each(ranks, row)

        code.each(parts, part)
        return context.get_dummy_value()

    words = [types.intp] * 15
    return types.void(files, blocks, taps, number, role, *words, types.float32), generate


def _quantise(
    typing_context: Any, number: Any, fp32: Any, quantised: Any, count: Any, unit: Any, zero: Any
) -> Any:
    """Quantise `count` (a multiple of 16) numbers, times `unit` and plus `zero`."""
    bytes_ = len(number)

    def generate(context: Any, llvm: Any, signature: Any, arguments: Any) -> Value:
        code = Code(llvm)
        _, fp32, quantised, count, unit, zero = arguments
        units, zeros = (code.broadcast(value, FLOATS) for value in (unit, zero))

        def register(index: Value) -> None:
            value = code.load(fp32, code.mul(index, word(REGISTER_BYTES)), FLOATS)
            converted = code.convert(code.fused(value, units, zeros), bytes_)
            code.store(converted, quantised, code.mul(index, word(bytes_ * LANES)))

        code.each(code.sdiv(count, word(LANES)), register)
        return context.get_dummy_value()

    return types.void(number, *[types.intp] * 3, types.float32, types.float32), generate


def _normalise(
    typing_context: Any,
    number: Any,
    fp32: Any,
    quantised: Any,
    squares: Any,
    channels: Any,
    gain: Any,
    shift: Any,
    epsilon: Any,
) -> Any:
    """LayerNorm of each of `squares` squares of `fp32` [S, D], quantised.

    All arrays are addresses. `gain` and `shift` [D] are its weight and bias in units of quantised
    numbers; D is a multiple of 16.
    """
    bytes_ = len(number)

    def generate(context: Any, llvm: Any, signature: Any, arguments: Any) -> Value:
        code = Code(llvm)
        _, fp32, quantised, squares, channels, gain, shift, epsilon = arguments
        registers = code.sdiv(channels, word(LANES))
        count = code.sitofp(channels, FLOAT)

        def square(index: Value) -> None:
            source = code.add(fp32, code.mul(code.mul(index, channels), word(4)))
            target = code.add(quantised, code.mul(code.mul(index, channels), word(bytes_)))

            def register(index: Value) -> Value:
                return code.load(source, code.mul(index, word(REGISTER_BYTES)), FLOATS)

            def add(index: Value, carried: list[Value]) -> Sequence[Value]:
                value = register(index)
                return [
                    code.fadd(carried[0], value),
                    code.fused(value, value, carried[1]),
                ]

            sums = code.loop(word(0), registers, [floats(0.0), floats(0.0)], add)
            mean, power = (code.fdiv(code.sum_lanes(value), count) for value in sums)
            variance = code.fsub(power, code.fmul(mean, mean))
            # Rounding may make it slightly negative.
            none = code.fcmp_ordered("<", variance, ir.Constant(FLOAT, 0.0))
            variance = code.select(none, ir.Constant(FLOAT, 0.0), variance)
            deviation = code.call("llvm.sqrt.f32", FLOAT, code.fadd(variance, epsilon))
            means = code.broadcast(mean, FLOATS)
            scale = code.fdiv(ir.Constant(FLOAT, 1.0), deviation)
            scales = code.broadcast(scale, FLOATS)

            def write(index: Value) -> None:
                offset = code.mul(index, word(REGISTER_BYTES))
                value = code.fmul(code.fsub(register(index), means), scales)
                gains = code.load(gain, offset, FLOATS)
                value = code.fused(value, gains, code.load(shift, offset, FLOATS))
                converted = code.convert(value, bytes_)
                code.store(converted, target, code.mul(index, word(bytes_ * LANES)))

            code.each(registers, write)

        code.each(squares, square)
        return context.get_dummy_value()

    return types.void(number, *[types.intp] * 6, types.float32), generate


convolve: Final[Any] = intrinsic(_convolve)
quantise: Final[Any] = intrinsic(_quantise)
normalise: Final[Any] = intrinsic(_normalise)
