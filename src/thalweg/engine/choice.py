"""Which engine runs a step: what was asked for, and what this machine can do."""

from __future__ import annotations

import functools
import os
import warnings
from types import ModuleType

from thalweg.engine import build, cpu, triton
from thalweg.engine.cell import Cell
from thalweg.engine.graph import Graph
from thalweg.extras import require
from thalweg.signature import check_flag

ENGINES = ("auto", "eager", "cpu", "triton")


def chosen(engine: str) -> str:
    """The engine asked for, by the argument or else by ``THALWEG_ENGINE``."""
    check_flag("engine", engine, ENGINES)
    if engine == "auto" and "THALWEG_ENGINE" in os.environ:
        engine = os.environ["THALWEG_ENGINE"]
        check_flag("THALWEG_ENGINE", engine, ENGINES)
    if engine == "cpu":
        build.compiler()
    if engine == "triton":
        require("triton", "triton")
    return engine


def in_place(engine: str, graph: Graph, cell: Cell) -> ModuleType | None:
    """The engine whose kernels update this cell in place, or None: the rule itself has to be called."""
    device = cell.p.device.type
    if engine == "triton" or (engine == "auto" and device == "cuda"):
        return triton if triton.can_run(graph, cell) else None
    if engine in ("auto", "cpu") and device == "cpu" and kernels_can_be_built(engine):
        return cpu if cpu.can_run(graph, cell) else None
    return None


@functools.cache
def kernels_can_be_built(engine: str) -> bool:
    """Whether a compiler works here and its libraries can be loaded; if not, say once what to do."""
    try:
        build.load('extern "C" int works() { return 1; }')
    except (RuntimeError, OSError) as error:  # no compiler, no home, no folder of our own
        if engine == "cpu":
            raise
        warnings.warn(f"steps run eagerly, several times slower than compiled ones: {error}", stacklevel=2)
        return False
    return True
