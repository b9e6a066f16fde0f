"""Finds files of the caller's that hide Pawnscope's own packages.

Pawnscope's code lies in top-level packages with everyday names. A `search.py` beside a person's
script, or in the working directory of a REPL, comes first on Python's path.
"""

import importlib.util
from pathlib import Path
from typing import Final

OWN_PACKAGES: Final = ("engine", "search", "training", "scripts")
_ROOT: Final = Path(__file__).resolve().parent.parent


def require_own_packages() -> None:
    """Raises ImportError, naming the file, where Python finds another module instead of ours."""
    for name in OWN_PACKAGES:
        try:
            spec = importlib.util.find_spec(name)
        except ValueError:
            # A module without a specification, made by hand and put into `sys.modules`.
            spec = None
        found = None if spec is None else spec.origin
        if found is None or Path(found).resolve().parent != _ROOT / name:
            raise ImportError(
                f"pawnscope needs its own package '{name}', but Python finds"
                f" {found or 'another module'} under that name: rename that, or start Python in"
                " another folder",
                name=name,
                path=found,
            )
