"""OpenVINO's Core: one for the life of the process.

A Core's CPU plugin gives the thread that loads it an alternate signal stack (see sigaltstack(2)),
which it needs for AMX, and takes it away when the last model that the plugin compiled is gone. With
several Cores the thread is left with a stack whose memory is free. Python runs its handler of
SIGINT on that stack: after ^C the process dies, or goes on with damaged memory.
"""

import functools
from collections.abc import Mapping
from pathlib import Path

import openvino as ov


@functools.cache
def _core() -> ov.Core:
    return ov.Core()


def compile_for_cpu(model: ov.Model | Path, settings: Mapping[str, object]) -> ov.CompiledModel:
    """A graph, or a file of one, made ready to run with OpenVINO's settings."""
    return _core().compile_model(model, "CPU", dict(settings))
