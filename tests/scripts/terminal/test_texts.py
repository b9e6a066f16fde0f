"""Times, sizes and shares in words."""

import pytest

from scripts.terminal.texts import duration_text, share_text, size_text


@pytest.mark.parametrize(
    ("share", "digits", "text"),
    [
        (1.0, 1, "100.0%"),
        (0.9996, 1, "99.9%"),
        (0.99999, 2, "99.99%"),
        (26 / 27, 1, "96.3%"),
        (0.0, 1, "0.0%"),
    ],
)
def test_only_all_is_one_hundred_per_cent(share: float, digits: int, text: str) -> None:
    assert share_text(share, digits) == text


def test_times_and_sizes_are_in_their_largest_unit() -> None:
    assert [duration_text(seconds) for seconds in (0, 119, 120, 7_200, 200_000)] == [
        "0 s",
        "119 s",
        "2 min",
        "2 h",
        "2 d",
    ]
    assert (size_text(41_000), size_text(2_040_000)) == ("41 kB", "2.0 MB")
