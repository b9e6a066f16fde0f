"""Optional packages: an extra of this project brings those that a default install leaves out."""

import importlib.util
import sys


def missing_extra(extra: str, *packages: str) -> str | None:
    """One line that says what is missing and which extra brings it; None if nothing is missing."""
    missing = [name for name in packages if not _is_found(name)]
    if not missing:
        return None
    verb = "is" if len(missing) == 1 else "are"
    # By this Python: the `pip` on the PATH may belong to another.
    install = f"{sys.executable} -m pip install 'pawnscope[{extra}]'"
    return f"{' and '.join(missing)} {verb} not installed ({install})"


def _is_found(name: str) -> bool:
    if name in sys.modules:
        return sys.modules[name] is not None
    return importlib.util.find_spec(name) is not None
