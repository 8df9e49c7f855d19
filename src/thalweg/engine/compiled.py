"""The rule through ``torch.compile``, in place: one compiled function for all tensors of a group.

What changes from step to step, t and every number among the hyper-parameters, goes in as a tensor of one element, so
that a new lr or step compiles nothing. Other shapes, dtypes or flags get a function of their own.
"""

from __future__ import annotations

import functools
import types
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from thalweg import ops
from thalweg.engine.cell import AS_TORCH, Cell, arguments, plain, stored
from thalweg.engine.graph import Graph
from thalweg.engine.model_wide import Run
from thalweg.signature import Rule, signature_of

BACKEND = "inductor"


@functools.lru_cache(maxsize=64)
def program(rule: Rule, flags: tuple[tuple[str, Any], ...], kinds: Any, backend: str) -> Callable[..., None]:
    """The compiled step of tensors of these kinds (shapes, dtypes, devices).

    It takes lists of parameters, gradients and slots by name, each as `_written` gives it, then t and the numbers by
    name, as tensors.
    """
    torch.compiler.assume_constant_result(ops._of_numbers)  # where nobody compiles, the compiler is not loaded
    signature = signature_of(rule)
    shapes = [{"p": p[0], **{name: kind[0] for name, kind in slots}} for p, _, *slots in kinds]

    def step(
        ps: list[torch.Tensor], gs: list[torch.Tensor], slots: list[dict[str, torch.Tensor]], t: torch.Tensor,
        numbers: dict[str, torch.Tensor],
    ) -> None:  # fmt: skip
        for p, g, kept, shape in zip(ps, gs, slots, shapes, strict=True):
            cell = Cell(p.reshape(shape["p"]), g, {name: value.reshape(shape[name]) for name, value in kept.items()})
            new_p, new = stored(signature, cell, rule(*arguments(signature, cell), t=t, **numbers, **dict(flags)))
            for name, value in {"p": new_p, **new}.items():
                old = p if name == "p" else kept[name]
                old.copy_(value.reshape(old.shape))

    # torch counts recompilations by code object: each program gets one of its own, and never compiles twice.
    own = types.FunctionType(step.__code__.replace(), step.__globals__, "step", None, step.__closure__)
    return torch.compile(own, fullgraph=True, dynamic=False, backend=backend)


def can_run(graph: Graph, cell: Cell) -> bool:
    """Whether this engine can update the cell in place: dense, kept as torch does, and no sum over the model."""
    return not graph.model_wide and cell.store == AS_TORCH and cell.p.layout is torch.strided


def run(rule: Rule, cells: Sequence[Cell], hyper: Mapping[str, Any]) -> Run:
    """As `update`, for cells that are a part of the model; its rules ask for no sum over it."""
    update(rule, cells, hyper)
    yield from ()


def update(rule: Rule, cells: Sequence[Cell], hyper: Mapping[str, Any]) -> None:
    """Update parameters and slots in place.

    Args:
        rule: the formula.
        cells: each for which `can_run` holds.
        hyper: Python numbers or tensors of one element, by the rule's own names.
    """
    signature = signature_of(rule)
    flags = tuple((name, hyper[name]) for name in signature.flags)
    numbers = {name: _tensor(hyper[name]) for name in signature.numbers}
    groups: dict[int, list[Cell]] = defaultdict(list)
    for cell in cells:
        groups[int(cell.t)].append(cell)
    for t, same in groups.items():
        kinds = tuple((_kind(c.p), _kind(c.g), *((n, _kind(s)) for n, s in c.slots.items())) for c in same)
        slots = [{name: _written(value) for name, value in c.slots.items()} for c in same]
        columns = [_written(c.p) for c in same], [c.g.detach() for c in same], slots
        with torch.no_grad():
            program(rule, flags, kinds, BACKEND)(*columns, _tensor(t), numbers)


def _written(x: torch.Tensor) -> torch.Tensor:
    """A tensor that the step writes. Without dimensions torch takes it for a number, and loses what is written."""
    return x.detach() if x.ndim else x.detach().reshape(1)


def _kind(x: torch.Tensor) -> tuple[Any, ...]:
    return tuple(x.shape), x.dtype, x.device, x.stride()


def _tensor(value: Any) -> torch.Tensor:
    return torch.tensor(plain(value), dtype=torch.float64)


def step(
    rule: Rule, cells: Sequence[Cell], hyper: Mapping[str, Any]
) -> list[tuple[torch.Tensor, dict[str, torch.Tensor]]]:
    """As `eager.step`: the inputs are left as they are, copies are updated."""
    copies = [
        c._replace(p=c.p.detach().clone(), slots={n: s.detach().clone() for n, s in c.slots.items()}) for c in cells
    ]
    update(rule, copies, hyper)
    return [(c.p, c.slots) for c in copies]
