"""OpenVINO as this program uses it: the module `ov` without its telemetry, and one Core.

`import openvino` reports each import to a server on the internet, from a process of its own, and
writes a client number to the home directory. It does neither if the reporting package cannot be
imported.

A Core's CPU plugin gives the thread that loads it an alternate signal stack (sigaltstack(2)), which
it needs for AMX, and removes it when the last model compiled by the plugin is gone. With several
Cores, the thread keeps a stack whose memory is freed. Python runs its SIGINT handler on that stack:
after ^C the process would crash or continue with corrupted memory. So one Core lives as long as the
process.
"""

import functools
import importlib
import sys
from collections.abc import Mapping
from typing import Any, cast


def _import_openvino() -> Any:
    modules = cast(dict[str, Any], sys.modules)
    # None makes an import fail.
    modules.setdefault("openvino_telemetry", None)
    return importlib.import_module("openvino")


ov: Any = _import_openvino()
"""The library, which is untyped."""


@functools.cache
def _core() -> Any:
    return ov.Core()


def compile_for_cpu(model: Any, settings: Mapping[str, object]) -> Any:
    """An `ov.CompiledModel` of an `ov.Model` or of a file, with OpenVINO's settings."""
    return _core().compile_model(model, "CPU", dict(settings))
