"""A curve in one line of text, as `▁▃▅▆█`."""

from collections.abc import Sequence
from typing import Final, TextIO

_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_ASCII: Final = "_.:-=+*#"


def sparkline(points: Sequence[tuple[float, float]], width: int, stream: TextIO) -> str:
    """The last value in each of up to `width` equal parts of the time; "" without points.

    `points` are (seconds, share in [0, 1]), in order of time. The scale is from 0 to 1, and only 1
    itself is drawn as the full block. In ASCII where the stream's encoding has no blocks.
    """
    if not points or width < 1:
        return ""
    blocks = _blocks_of(stream)
    first, last = points[0][0], points[-1][0]
    parts = min(width, len(points))
    values, place = [], 0
    for part in range(1, parts + 1):
        end = first + (last - first) * part / parts
        while place + 1 < len(points) and (points[place + 1][0] <= end or part == parts):
            place += 1
        values.append(points[place][1])
    top = len(blocks) - 1
    return "".join(blocks[min(top, max(0, int(value * top)))] for value in values)


def _blocks_of(stream: TextIO) -> str:
    try:
        _BLOCKS.encode(stream.encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return _ASCII
    return _BLOCKS
