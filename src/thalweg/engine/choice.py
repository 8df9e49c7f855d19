"""Which engine runs a step: what was asked for, and what this machine can do."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Iterable, Mapping
from types import ModuleType

import torch

from thalweg.engine import build, compiled, cpu, triton, triton_machine
from thalweg.engine.cell import Cell
from thalweg.engine.graph import Graph
from thalweg.extras import require
from thalweg.signature import SlotSpec, check_flag

ENGINES = ("auto", "eager", "cpu", "triton", "compiled")


def chosen(engine: str) -> str:
    """The engine asked for, by the argument or else by ``THALWEG_ENGINE``."""
    check_flag("engine", engine, ENGINES)
    if engine == "auto" and os.environ.get("THALWEG_ENGINE"):
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
    if engine == "compiled":
        return compiled if compiled.can_run(graph, cell) else None
    if engine == "triton" or (engine == "auto" and device == "cuda"):
        return triton if triton.can_run(graph, cell) else None
    if engine in ("auto", "cpu") and device == "cpu" and kernels_can_be_built(engine):
        return cpu if cpu.can_run(graph, cell) else None
    return None


def check_engine(engine: str, devices: Iterable[torch.device]) -> None:
    """Refuse Triton's kernels, where they were asked for, on a device that they do not run on.

    Raises:
        ValueError: they do not, for example on the CPU without Triton's interpreter.
    """
    for device in devices:
        if engine == "triton" and not triton.runs_on(device):
            raise ValueError(
                f"engine is 'triton', and a parameter is on {device.type}; it must be on a GPU, or engine 'auto', "
                "'eager', 'cpu' or 'compiled'."
            )


def check_capturable(engine: str, devices: Iterable[torch.device]) -> None:
    """Refuse ``capturable=True`` where no engine computes a step's scalars on the device.

    Raises:
        ValueError: the engine, or a device, is not one of Triton's.
    """
    for device in devices:
        fits = engine == "triton" or (engine == "auto" and device.type == "cuda")
        if not fits or not triton.runs_on(device):
            raise ValueError(
                f"capturable is True; it must be False for parameters on {device.type} with engine={engine!r}: the "
                "step's scalars are computed on the host there, and a captured graph would freeze them."
            )


def check_ways(
    ways: Iterable[ModuleType | None], graph: Graph, cell: Cell, counts: bool, begun: bool, capturable: bool
) -> None:
    """Refuse a step that a CUDA graph is to play again, or may be, where that would not be the next step.

    Args:
        ways: what `in_place` said for each parameter.
        graph, cell, counts: as for `changes`.
        begun: whether all state was there before this step; else a graph would make it anew each time.
        capturable: whether the device counts the steps and computes the scalars.

    Raises:
        ValueError: capturable is True, and a parameter has no kernels.
        RuntimeError: the step is being captured, and it is the first, or needs capturable=True.
    """
    if capturable and None in ways:
        raise ValueError(
            "capturable is True, and a parameter cannot go through the kernels: it and its gradient must be dense "
            "and without gaps in memory, and the rule without matrix operations."
        )
    if not triton_machine.capturing(cell.p.device):
        return
    if not begun:
        raise RuntimeError("a step is captured that has never run: take one step before the capture.")
    if not capturable and changes(graph, cell, counts):
        raise RuntimeError(
            "a step is captured whose scalars change from step to step: its optimizer needs capturable=True."
        )


def changes(graph: Graph, cell: Cell, counts: bool) -> bool:
    """Whether the host has new numbers for every step, where it computes them.

    Args:
        graph: of the rule. `cell`: of one of its tensors.
        counts: whether the tensors count their steps; else t is the same from the second step on.
    """
    return bool(graph.host_slots) or (counts and graph.uses_t) or cell.store.stochastic


def on_device(graph: Graph, kept: Mapping[str, SlotSpec], capturable: bool) -> dict[str, bool]:
    """Whether the step number and each one-number slot lie where their parameter lies: what only the device knows."""
    numbers = [name for name, slot in kept.items() if slot.shape == "number"]
    return {"step": capturable, **{name: capturable or graph.inputs[name].stage == "number" for name in numbers}}


@functools.cache
def kernels_can_be_built(engine: str) -> bool:
    """Whether a compiler works here and its libraries can be loaded; if not, say once what to do."""
    try:
        build.load('extern "C" int works() { return 1; }')
    except (RuntimeError, OSError) as error:  # no compiler, or nowhere to put what it makes
        if engine == "cpu":
            raise
        warnings.warn(f"steps run eagerly, several times slower than compiled ones: {error}", stacklevel=2)
        return False
    return True
