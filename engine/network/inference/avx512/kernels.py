"""The processor's own dot products, for boards so small that a row of one stays in the registers.

Libraries multiply matrices of any size; on 5x5 boards they reach two thirds of what the processor
can do. Here a row of the board is one tile of accumulators, and the taps of a convolution that
would read outside the board are left out instead of multiplied by zero:

    squares of the row      outputs, 16 to a register
        s = 0 .. W-1            n = 0 .. blocks-1        W * blocks accumulators

    for each tap row ky inside the board, for each group k of input channels:
        for each kx, n:     weights = one register: 16 outputs x the group
            for each s:     accumulator[s - kx + 1, n] += group k of square s . weights

A group is four bytes: four 8-bit numbers (`vpdpbusd`, unsigned times signed), two bfloat16
(`vdpbf16ps`) or one float32, so that all precisions share everything but one instruction. Linear
layers are convolutions of one tap, and so are the two products of attention.

Numba has no vectors, so this is written in LLVM's language. Memory is told by addresses; what is
fixed when a kernel is compiled is told by the length of a tuple, which is part of its type.
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
    Builder,
    Value,
    added_up,
    call,
    each,
    everywhere,
    floats,
    fused,
    load,
    loop,
    narrowed,
    relu,
    store,
    word,
)
from engine.rules.compilation.decorators import JIT_ENABLED

Fixed = tuple[int, ...]

INT8: Final = (0,)
BF16: Final = (0, 0)
FP32: Final = (0, 0, 0, 0)
"""In what a kernel multiplies; the length is the bytes of a number."""

ONE_TAP: Final = (0,)
THREE_TAPS: Final = (0, 0, 0)

RELU: Final = (0,)
"""What a convolution writes: the sum's ReLU as narrow numbers;"""
STREAM: Final = (0, 0)
"""the ReLU of the sum and of what stands in `wide`, there and as narrow numbers;"""
ADD: Final = (0, 0, 0)
"""the sum and what stands in `wide`, there;"""
PUT: Final = (0, 0, 0, 0)
"""the sum, in `wide`."""

GROUP_BYTES: Final = 4
_REGISTERS: Final = 32
_MOST_BLOCKS: Final = 4


def available_numbers() -> tuple[Fixed, ...]:
    """Those of INT8, BF16 and FP32 for which numba compiles instructions here.

    What the processor has does not matter where NUMBA_CPU_NAME or NUMBA_ENABLE_AVX ask for less:
    LLVM ends the process at an instruction that its target lacks.
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
    """How many registers of outputs a tile has, as a length; `outputs` is a multiple of 16."""
    room = (_REGISTERS - 1) // files - 1
    fitting = [n for n in range(1, _MOST_BLOCKS + 1) if outputs // LANES % n == 0 and n <= room]
    return (0,) * max(fitting)


class _Tile:
    """Writes the code of a tile. Sizes that are Python numbers are fixed in it."""

    def __init__(self, builder: Builder, files: int, blocks: int, taps: int, bytes_: int) -> None:
        self.builder = builder
        self.files, self.blocks, self.taps, self.bytes = files, blocks, taps, bytes_
        self.sums = INTS if bytes_ == 1 else FLOATS

    def dot(self, total: Value, group: Value, weights: Value) -> Value:
        """`total` and the products of a group of inputs and 16 outputs' weights."""
        builder = self.builder
        if self.bytes == 1:
            name = "llvm.x86.avx512.vpdpbusd.512"
            return call(builder, name, INTS, total, group, weights)
        if self.bytes == 2:
            pairs = [builder.bitcast(value, BFLOAT_PAIRS) for value in (group, weights)]
            return call(builder, "llvm.x86.avx512bf16.dpbf16ps.512", FLOATS, total, *pairs)
        return fused(
            builder, builder.bitcast(group, FLOATS), builder.bitcast(weights, FLOATS), total
        )

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
        builder, reach = self.builder, self.taps // 2
        first = builder.icmp_signed("==", rank, word(0))
        last = builder.icmp_signed("==", rank, builder.sub(ranks, word(1)))
        low = builder.select(first, word(reach), word(0))
        high = builder.select(last, word(self.taps - reach), word(self.taps))
        row_bytes = builder.mul(stride, word(self.files))
        tap_bytes = builder.mul(groups, group_bytes)

        def tap_row(tap: Value, sums: list[Value]) -> Sequence[Value]:
            seen = builder.sub(builder.add(rank, tap), word(reach))
            inputs = builder.add(source, builder.mul(seen, row_bytes))
            matrix = builder.add(weights, builder.mul(tap, tap_bytes))

            def group(index: Value, sums: list[Value]) -> Sequence[Value]:
                here = builder.add(inputs, builder.mul(index, word(GROUP_BYTES)))
                theirs = builder.add(matrix, builder.mul(index, group_bytes))
                return self.products(here, stride, theirs, sums)

            return loop(builder, word(0), groups, sums, group)

        zero = ir.Constant(self.sums, None)
        return loop(builder, low, high, [zero] * (self.files * self.blocks), tap_row)

    def products(
        self, inputs: Value, stride: Value, weights: Value, sums: list[Value]
    ) -> list[Value]:
        """`sums` and what one group of one row of squares adds to them."""
        builder, sums = self.builder, list(sums)
        seen, offset = [], word(0)
        for _ in range(self.files):
            seen.append(everywhere(builder, load(builder, inputs, offset, INT), INTS))
            offset = builder.add(offset, stride)
        for tap in range(self.taps):
            for block in range(self.blocks):
                place = word((tap * self.blocks + block) * REGISTER_BYTES)
                theirs = load(builder, weights, place, INTS)
                for square in range(self.files):
                    target = square - tap + self.taps // 2
                    if 0 <= target < self.files:
                        index = target * self.blocks + block
                        sums[index] = self.dot(sums[index], seen[square], theirs)
        return sums

    def write(
        self, totals: list[Value], ends: dict[str, Value], role: int, square: Value, column: Value
    ) -> None:
        """Scale a row's sums and write them as `role` says, from a square and a column on."""
        builder = self.builder
        for block in range(self.blocks):
            ours = builder.add(column, word(block * LANES))
            bytes_ = builder.mul(ours, word(4))
            scale = load(builder, ends["scales"], bytes_, FLOATS)
            for file in range(self.files):
                total = totals[file * self.blocks + block]
                value = builder.sitofp(total, FLOATS) if self.bytes == 1 else total
                place = builder.add(square, word(file))
                offset = builder.add(builder.mul(place, ends["bias_stride"]), bytes_)
                bias = load(builder, ends["biases"], offset, FLOATS)
                value = fused(builder, value, scale, bias)
                self.written(value, ends, role, place, ours)

    def written(
        self, value: Value, ends: dict[str, Value], role: int, square: Value, column: Value
    ) -> None:
        """Write 16 outputs of one square."""
        builder = self.builder
        bytes_ = builder.mul(column, word(4))
        wide = builder.add(builder.mul(square, ends["wide_stride"]), bytes_)
        if role in (len(STREAM), len(ADD)):
            value = builder.fadd(value, load(builder, ends["wide"], wide, FLOATS))
        if role in (len(STREAM), len(RELU)):
            value = relu(builder, value)
        if role != len(RELU):
            store(builder, value, ends["wide"], wide)
        if role == len(STREAM):
            value = builder.fmul(value, ends["unit"])
        if role in (len(STREAM), len(RELU)):
            small = narrowed(builder, value, self.bytes)
            place = builder.mul(column, word(self.bytes))
            place = builder.add(builder.mul(square, ends["narrow_stride"]), place)
            store(builder, small, ends["narrow"], place)


_ENDS: Final = (
    "scales",
    "biases",
    "bias_stride",
    "wide",
    "wide_stride",
    "narrow",
    "narrow_stride",
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
    wide: Any,
    wide_stride: Any,
    narrow: Any,
    narrow_stride: Any,
    ranks: Any,
    groups: Any,
    parts: Any,
    unit: Any,
) -> Any:
    """Convolve a board of `ranks` by `len(files)` squares.

    `len(taps)` is 3 or, for every square by itself, 1; `len(number)` bytes hold a number; outputs
    come in `parts` parts of `len(blocks)` registers. Addresses: `source`, squares `stride` bytes
    apart with `groups` groups each; `weights`, a group's `group_bytes` and a part's `part_bytes`
    apart; `scales`, float32, one for each output; `biases`, too, and perhaps others for each
    square; `wide` and `narrow`, squares so many bytes apart. Sums are multiplied by the scales, the
    biases are added, and this is written as `role` says; a stream is multiplied by `unit` before it
    becomes narrow.
    """
    fixed = [len(told) for told in (files, blocks, taps, number)]
    result = len(role)

    def generate(context: Any, builder: Builder, signature: Any, arguments: Any) -> Value:
        source, stride, weights, group_bytes, part_bytes = arguments[5:10]
        ranks, groups, parts, unit = arguments[17:]
        ends = dict(zip(_ENDS, arguments[10:17], strict=True))
        ends["unit"] = everywhere(builder, unit, FLOATS)
        tile = _Tile(builder, *fixed)

        def part(index: Value) -> None:
            ours = builder.add(weights, builder.mul(index, part_bytes))
            columns = builder.mul(index, word(tile.blocks * LANES))

            def row(rank: Value) -> None:
                sums = tile.row(source, stride, ours, group_bytes, rank, ranks, groups)
                squares = builder.mul(rank, word(tile.files))
                tile.write(sums, ends, result, squares, columns)

            each(builder, ranks, row)

        each(builder, parts, part)
        return context.get_dummy_value()

    words = [types.intp] * 15
    return types.void(files, blocks, taps, number, role, *words, types.float32), generate


def _narrow_down(
    typing_context: Any, number: Any, wide: Any, narrow: Any, count: Any, unit: Any, zero: Any
) -> Any:
    """Write `count` (a multiple of 16) numbers, times `unit` and plus `zero`, as narrow ones."""
    bytes_ = len(number)

    def generate(context: Any, builder: Builder, signature: Any, arguments: Any) -> Value:
        _, wide, narrow, count, unit, zero = arguments
        units, zeros = (everywhere(builder, value, FLOATS) for value in (unit, zero))

        def register(index: Value) -> None:
            value = load(builder, wide, builder.mul(index, word(REGISTER_BYTES)), FLOATS)
            small = narrowed(builder, fused(builder, value, units, zeros), bytes_)
            store(builder, small, narrow, builder.mul(index, word(bytes_ * LANES)))

        each(builder, builder.sdiv(count, word(LANES)), register)
        return context.get_dummy_value()

    return types.void(number, *[types.intp] * 3, types.float32, types.float32), generate


def _normalise(
    typing_context: Any,
    number: Any,
    wide: Any,
    narrow: Any,
    squares: Any,
    channels: Any,
    gain: Any,
    shift: Any,
    epsilon: Any,
) -> Any:
    """LayerNorm of each of `squares` squares of `wide` [S, D], in narrow numbers.

    `gain` and `shift` [D], its weight and bias in units of narrow numbers, are addresses, too; D is
    a multiple of 16.
    """
    bytes_ = len(number)

    def generate(context: Any, builder: Builder, signature: Any, arguments: Any) -> Value:
        _, wide, narrow, squares, channels, gain, shift, epsilon = arguments
        registers = builder.sdiv(channels, word(LANES))
        count = builder.sitofp(channels, FLOAT)

        def square(index: Value) -> None:
            source = builder.add(wide, builder.mul(builder.mul(index, channels), word(4)))
            target = builder.add(narrow, builder.mul(builder.mul(index, channels), word(bytes_)))

            def register(index: Value) -> Value:
                return load(builder, source, builder.mul(index, word(REGISTER_BYTES)), FLOATS)

            def add(index: Value, carried: list[Value]) -> Sequence[Value]:
                value = register(index)
                return [
                    builder.fadd(carried[0], value),
                    fused(builder, value, value, carried[1]),
                ]

            sums = loop(builder, word(0), registers, [floats(0.0), floats(0.0)], add)
            mean, power = (builder.fdiv(added_up(builder, value), count) for value in sums)
            variance = builder.fsub(power, builder.fmul(mean, mean))
            # Rounding may leave a little less than nothing.
            none = builder.fcmp_ordered("<", variance, ir.Constant(FLOAT, 0.0))
            variance = builder.select(none, ir.Constant(FLOAT, 0.0), variance)
            deviation = call(builder, "llvm.sqrt.f32", FLOAT, builder.fadd(variance, epsilon))
            means = everywhere(builder, mean, FLOATS)
            scale = builder.fdiv(ir.Constant(FLOAT, 1.0), deviation)
            scales = everywhere(builder, scale, FLOATS)

            def write(index: Value) -> None:
                offset = builder.mul(index, word(REGISTER_BYTES))
                value = builder.fmul(builder.fsub(register(index), means), scales)
                gains = load(builder, gain, offset, FLOATS)
                value = fused(builder, value, gains, load(builder, shift, offset, FLOATS))
                small = narrowed(builder, value, bytes_)
                store(builder, small, target, builder.mul(index, word(bytes_ * LANES)))

            each(builder, registers, write)

        each(builder, squares, square)
        return context.get_dummy_value()

    return types.void(number, *[types.intp] * 6, types.float32), generate


convolve: Final[Any] = intrinsic(_convolve)
narrow_down: Final[Any] = intrinsic(_narrow_down)
normalise: Final[Any] = intrinsic(_normalise)
