"""OpenVINO as this program uses it: the module `ov` without its telemetry, and one Core.

`import openvino` reports every import to a server on the internet, from a process of its own, and
keeps a client's number in the home directory. It does neither where the package that reports cannot
be imported.

A Core's CPU plugin gives the thread that loads it an alternate signal stack (see sigaltstack(2)),
which it needs for AMX, and takes it away when the last model that the plugin compiled is gone. With
several Cores the thread is left with a stack whose memory is free. Python runs its handler of
SIGINT on that stack: after ^C the process dies, or goes on with damaged memory. So there is one
Core for the life of the process.
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
"""The library, which has no types of its own."""


@functools.cache
def _core() -> Any:
    return ov.Core()


def compile_for_cpu(model: Any, settings: Mapping[str, object]) -> Any:
    """An `ov.CompiledModel` of an `ov.Model` or a file of one, with OpenVINO's settings."""
    return _core().compile_model(model, "CPU", dict(settings))
