"""Optional packages: an extra of this project brings those that a default install leaves out."""

import importlib.util
import shlex
import sys
import sysconfig
from pathlib import Path
from typing import Final

_SOURCES: Final = Path(__file__).resolve().parents[2]


def missing_extra(extra: str, *packages: str) -> str | None:
    """One line that says what is missing and how to install it; None if nothing is missing."""
    missing = missing_packages(*packages)
    if not missing:
        return None
    verb = "is" if len(missing) == 1 else "are"
    return f"{' and '.join(missing)} {verb} not installed ({how_to_install(extra)})"


def missing_packages(*packages: str) -> list[str]:
    """Those of the packages that cannot be imported."""
    return [name for name in packages if not _is_found(name)]


def how_to_install(extra: str) -> str:
    """The command that installs an extra where this Python finds it, or why there is none."""
    what = f"install {shlex.join(requirement(extra))}"
    if is_externally_managed():
        return (
            "this Python belongs to the system, which installs packages by its own means; in an"
            f" environment made by python3 -m venv: pip {what}"
        )
    # By this Python: the `pip` on the PATH may belong to another.
    pip = Path(sys.prefix) / "bin" / "pip"
    if not pip.exists():
        return f"{sys.executable} -m pip {what}"
    here = Path.cwd()
    return f"{pip.relative_to(here) if pip.is_relative_to(here) else pip} {what}"


def requirement(extra: str) -> list[str]:
    """The words that name an extra to pip."""
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        distribution("pawnscope")
    except PackageNotFoundError:
        # These are the sources, started as they are. By the name alone pip would look on an index,
        # where it may be somebody else's.
        return ["-e", f"{_SOURCES}[{extra}]"]
    return [f"pawnscope[{extra}]"]


def is_externally_managed() -> bool:
    """Whether a system's package manager owns this Python, so that pip refuses to install into it
    (PEP 668). An environment made from it is not."""
    mark = Path(sysconfig.get_path("stdlib")) / "EXTERNALLY-MANAGED"
    return sys.prefix == sys.base_prefix and mark.exists()


def _is_found(name: str) -> bool:
    if name in sys.modules:
        return sys.modules[name] is not None
    return importlib.util.find_spec(name) is not None
