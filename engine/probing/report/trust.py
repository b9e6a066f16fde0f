"""How often the method itself is right, as the study of planted networks found it.

`planted.json` beside this module holds {"variant", "shares"} of a finished `pawnscope study
planted`, each share {"count", "of", "share", "low", "high"}. Without it a page names the study.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

_FIGURES: Final = Path(__file__).with_name("planted.json")
_PRESENT: Final = "found where it is: all"
_NEARLY: Final = "found where it is, though controls nearly read it"
_NULLS: Final = "any cell clear: all"
_HASHES: Final = "a hash found"


def planted_figures(path: Path = _FIGURES) -> dict[str, Any] | None:
    """The figures; None where there are none yet."""
    if not path.exists():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def planted_words(found: Mapping[str, Any] | None) -> str:
    """The figures in words, or where they would come from."""
    if found is None:
        return (
            "How often planted concepts are found, and absent ones are, is measured by "
            "`pawnscope study planted`."
        )
    shares = found["shares"]
    return (
        f"In the study of planted networks ({found['variant']}), whose answer is known, "
        f"{_share(shares[_PRESENT])} planted concepts that controls leave room for were found "
        f"in the layer that holds them, and {_share(shares[_NEARLY])} of others, which raw input "
        "or untrained networks nearly read; "
        f"{_share(shares[_NULLS])} surfaces of networks without any had some cell clear of zero; "
        f"a random hash of the position was found in {_share(shares[_HASHES])} surfaces."
    )


def _share(found: Mapping[str, Any]) -> str:
    """`1 of 40 (2.5 %, 0.1 to 13.2)`."""
    counted = f"{found['count']} of {found['of']}"
    if not found["of"]:
        return counted
    share, low, high = (100 * found[name] for name in ("share", "low", "high"))
    return f"{counted} ({share:.1f} %, {low:.1f} to {high:.1f})"
