"""A group's step on a GPU, prepared: the host looks at what may have changed, and launches.

Its counterpart on the CPU is plan.py. The kernels' table of addresses is the program's own affair (triton.py); a plan
saves the way through the door, which costs the host more than the launches.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from operator import is_
from typing import Any

import torch

from thalweg.engine import triton, triton_machine
from thalweg.engine.cell import Cell, alike, in_memory, order
from thalweg.engine.choice import changes
from thalweg.engine.graph import Graph
from thalweg.engine.model_wide import Run, alone
from thalweg.engine.plan import Settings, moving
from thalweg.signature import is_on


class DevicePlan:
    """The next steps of one group of tensors: called with what `plan.Plan` is called with."""

    def __init__(
        self, graph: Graph, cells: Sequence[Cell], group: Mapping[str, Any], state: Mapping[Any, Any],
        keys: Mapping[str, str], settings: Settings, t: int,
    ):  # fmt: skip
        self.settings, self.t, self.states = settings, t, list(state.values())
        self.params, self.listed = moving(group), list(group["params"])
        self.cells = [cell._replace(g=cell.p) for cell in cells]  # a plan must not keep gradients alive
        self.dtypes = [p.grad.dtype for p in self.params if p.grad is not None]
        self.laid_out = [(p.shape, p.stride(), order(p)) for p in self.params]
        owners = [state.get(p, {}) for p in self.params]
        self.kept = [(owner, key, owner[key]) for owner in owners for key in keys.values()]
        # the cells have views of complex tensors, which stay where they are when those go elsewhere
        complexes = [x for x in (*self.params, *(value for _, _, value in self.kept)) if x.is_complex()]
        self.viewed = [(x, x.data_ptr()) for x in complexes]
        self.counts = [owner[keys["t"]] for owner in owners] if "t" in keys else []
        self.stops = graph.model_wide
        self.runs: list[Run] = []
        self.stopped: list[Run] = []
        self.capturable = bool(group.get("capturable"))
        # numpy reads and writes a number on the host in a fraction of the time that torch takes
        self.on_host = [] if self.capturable else [count.numpy() for count in self.counts]
        self.places = [count.data_ptr() for count in self.counts]
        self.now = self._switches(group)
        self.changes = changes(graph, cells[0], "t" in keys) and not self.capturable
        self.own = () if self.capturable else graph.host_slots  # numbers that all tensors of a launch share, as t
        places = [cell._replace(tensor=i) for i, cell in enumerate(cells)]
        parts = alike(places, functools.partial(triton.memory_of, graph), graph.host_slots).items()
        self.parts = [
            (device, triton.program(graph, memory), [(cell.tensor, self.cells[cell.tensor]) for cell in its])
            for (device, memory, *_), its in parts
        ]

    def _switches(self, group: Mapping[str, Any]) -> list[Any]:
        found = [group.get(key) for key in (*self.settings.switches, "capturable")]
        return found + [is_on(group[key]) if key in group else None for key in self.settings.amounts]

    @staticmethod
    def fits(graph: Graph, cells: Sequence[Cell], counts: Sequence[torch.Tensor]) -> bool:
        """Whether a plan can be made of these: of all that the kernels can run."""
        return all(triton.can_run(graph, cell) for cell in cells)

    def rest(self) -> list[Run]:
        """What is left of the step that just began, where its rule sums over the model."""
        self.stopped, stopped = [], self.stopped
        return stopped

    def ready(self, group: dict[str, Any], params: list[torch.Tensor], state: Mapping[Any, Any]) -> bool:
        """Whether the step can be taken so."""
        if len(params) != len(self.listed) or len(state) != len(self.states) or self._switches(group) != self.now:
            return False
        if not all(map(is_, params, self.listed)) or not all(map(is_, state.values(), self.states)):
            return False
        if not all([owner.get(key) is value for owner, key, value in self.kept]):
            return False
        if any([x.data_ptr() != place or x.is_conj() for x, place in self.viewed]):
            return False
        params = moving(group)
        if len(params) != len(self.params) or not all(map(self._fits, range(len(params)), params)):
            return False
        if self.changes and any(triton_machine.capturing(device) for device, *_ in self.parts):
            return False  # the general way refuses it
        ts = self._step_numbers()
        if ts is None:
            return False
        gradients: list[Any] = [p.grad for p in params]
        self.runs = []
        for device, program, its in self.parts:
            cells = [Cell(c.p, gradients[i], c.slots, ts[i], c.store, c.tensor) for i, c in its]
            hyper = {
                name: triton.number(group.get(key, default) if item is None else group[key][item], device)
                for name, (key, item, default) in self.settings.numbers.items()
            }
            self.runs.append(program.run(cells, hyper))
        return True

    def take(self) -> None:
        """The step, for which all is ready; of a rule that sums over the model, its beginning."""
        runs, self.runs = self.runs, []
        for count in self.on_host:
            count += 1
        if self.counts and self.capturable:
            torch._foreach_add_(self.counts, 1.0)  # pyright: ignore[reportPrivateImportUsage]
        if self.stops:
            self.stopped = runs
        else:
            alone(runs)
        torch.autograd.graph.increment_version(self.params)

    def _step_numbers(self) -> list[Any] | None:
        """Each tensor's t: on the device, or a number; None where a part is not equally far, or a count moved."""
        if self.counts and self.capturable:
            return self.counts
        if [count.data_ptr() for count in self.counts] != self.places:
            return None
        ts = [int(count) + 1 for count in self.on_host] or [self.t] * len(self.cells)
        for _, _, its in self.parts:
            if len({(ts[i], *[cell.slots[name].item() for name in self.own]) for i, cell in its}) > 1:
                return None
        return ts

    def _fits(self, i: int, p: torch.Tensor) -> bool:
        """Whether a parameter and its gradient lie as they lay, wherever that is."""
        g, (shape, strides, along) = p.grad, self.laid_out[i]
        return (
            g is not None
            and p is self.params[i]
            and p.shape == g.shape == shape
            and p.stride() == strides
            and g.layout is torch.strided
            and (g.stride() == strides or order(g) == along)
            and g.dtype is self.dtypes[i]
            and g.device == p.device
            and not g.is_neg()
            and not g.is_conj()
            and in_memory(g)
        )
