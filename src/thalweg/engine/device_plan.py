"""A group's step on a GPU, prepared: the host looks at what may have changed, and launches.

Its counterpart on the CPU is plan.py. The kernels' table of addresses is the program's own affair (triton.py); a plan
saves the way through the door, which costs the host more than the launches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from thalweg.engine import triton
from thalweg.engine.cell import Cell, in_memory
from thalweg.engine.graph import Graph
from thalweg.engine.model_wide import Run, alone
from thalweg.engine.plan import Settings, moving
from thalweg.signature import is_on


class DevicePlan:
    """One program, one set of tensors: called with what `plan.Plan` is called with."""

    def __init__(
        self, graph: Graph, cells: Sequence[Cell], group: Mapping[str, Any], state: Mapping[Any, Any],
        keys: Mapping[str, str], settings: Settings, t: int,
    ):  # fmt: skip
        self.program = triton.program(graph, triton.memory_of(graph, cells[0]))
        self.cells, self.settings, self.t, self.known = list(cells), settings, t, len(state)
        self.params, self.shapes = moving(group), [cell.p.shape for cell in cells]
        self.listed = list(group["params"])
        self.owners = [state.get(p, {}) for p in self.params]
        self.keys = [(name, key) for name, key in keys.items() if name != "t"]
        self.counts = [owner[keys["t"]] for owner in self.owners] if "t" in keys else []
        self.stops, self.stopped = graph.model_wide, []
        self.capturable = bool(group.get("capturable"))
        self.now = self._switches(group)

    def _switches(self, group: Mapping[str, Any]) -> list[Any]:
        found = [group.get(key) for key in (*self.settings.switches, "capturable")]
        return found + [is_on(group[key]) if key in group else None for key in self.settings.amounts]

    @staticmethod
    def fits(graph: Graph, cells: Sequence[Cell], counts: Sequence[torch.Tensor]) -> bool:
        """Whether a plan can be made of these: one launch takes them all."""
        kinds = {(cell.p.device, triton.memory_of(graph, cell)) for cell in cells}
        return len(kinds) == 1 and len({count.device for count in counts}) <= 1

    def rest(self) -> list[Run]:
        """What is left of the step that just began, where its rule sums over the model."""
        self.stopped, stopped = [], self.stopped
        return stopped

    def step(self, group: dict[str, Any], params: list[torch.Tensor], state: Mapping[Any, Any]) -> bool:
        """Take the step and return True; or return False, and nothing has changed."""
        if len(params) != len(self.listed) or len(state) != self.known or self._switches(group) != self.now:
            return False
        if any(p is not known for p, known in zip(params, self.listed, strict=True)):
            return False
        params = moving(group)
        if len(params) != len(self.params):
            return False
        for p, known, owner, cell, shape in zip(params, self.params, self.owners, self.cells, self.shapes, strict=True):
            if p is not known or state.get(p, owner) is not owner or not self._fits(p, cell, shape):
                return False
            if any(owner.get(key) is not cell.slots[name] for name, key in self.keys):
                return False
        if any(owner["step"] is not count for owner, count in zip(self.owners, self.counts, strict=False)):
            return False
        t: Any = self.t
        if self.counts and not self.capturable:
            first, *others = {count.item() for count in self.counts}
            if others:
                return False
            t = int(first) + 1
        shared = [name for name in self.program.own if not self.capturable]
        if any(len({cell.slots[name].item() for cell in self.cells}) > 1 for name in shared):
            return False
        if self.counts:
            torch._foreach_add_(self.counts, 1.0)  # pyright: ignore[reportPrivateImportUsage]
        ts = self.counts if self.capturable and self.counts else [t] * len(self.cells)
        cells = [c._replace(g=p.grad, t=t) for c, p, t in zip(self.cells, params, ts, strict=True)]
        device = params[0].device
        hyper = {
            name: triton.number(group.get(key, default) if item is None else group[key][item], device)
            for name, (key, item, default) in self.settings.numbers.items()
        }
        run = self.program.run(cells, hyper)
        if self.stops:
            self.stopped.append(run)
        else:
            alone([run])
        torch.autograd.graph.increment_version(params)
        return True

    @staticmethod
    def _fits(p: torch.Tensor, cell: Cell, shape: torch.Size) -> bool:
        """Whether a parameter and its gradient lie as they lay, wherever that is."""
        g = p.grad
        return (
            g is not None
            and p is cell.p
            and p.shape == g.shape == shape
            and g.layout is torch.strided
            and g.dtype is cell.g.dtype
            and g.device == p.device
            and p.is_contiguous()
            and g.is_contiguous()
            and not g.is_neg()
            and in_memory(g)
        )
