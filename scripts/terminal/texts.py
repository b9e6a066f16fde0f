"""Times, sizes and shares as a person reads them."""

from typing import Final

_UNITS: Final = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def duration_text(seconds: float) -> str:
    """A time in its largest whole unit: 45 s, 12 min, 3 h, 8 d."""
    unit, length = next((each for each in _UNITS if seconds >= 2 * each[1]), _UNITS[-1])
    return f"{int(max(seconds, 0) / length)} {unit}"


def minutes_text(minutes: float) -> str:
    """Minutes that were asked for: 1 minute, 2.5 minutes."""
    return f"{minutes:g} minute{'' if minutes == 1.0 else 's'}"


def size_text(size: float) -> str:
    """Bytes as kB or MB."""
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


def share_text(share: float, digits: int = 1) -> str:
    """A share in per cent; 100 % only where it is all, and never by rounding."""
    text = f"{share:.{digits}%}"
    if share < 1.0 and text == f"{1:.{digits}%}":
        return f"{1 - 0.1 ** (digits + 2):.{digits}%}"
    return text
