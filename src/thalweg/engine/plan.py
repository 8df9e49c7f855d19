"""A group's step, prepared: what does not change between steps is looked up once.

A plan holds the pointer table of the fused kernels for fixed parameters and slots. Each step it asks the
tensors whether they still lie where they lay, fills in the gradients' addresses and the step's scalars, and
calls the kernel. Whatever does not fit makes it say no, and the door takes the general way.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import torch

from thalweg.engine import cpu
from thalweg.engine.cell import Cell
from thalweg.engine.graph import Graph
from thalweg.engine.host import host_function


class Shared:
    """A number that every tensor keeps for itself and that is the same for all: a step count, or a rule's own."""

    def __init__(self, program: cpu.Program, tensors: Sequence[torch.Tensor]):
        self.first, self.count = tensors[0], len(tensors)
        self.are, self.put = program.same[tensors[0].dtype]
        self.table = (ctypes.c_void_p * len(tensors))(*(x.data_ptr() for x in tensors))

    def read(self) -> float | None:
        """The number, or None if it is not the same for all."""
        value = self.first.item()
        return value if self.are(self.count, self.table, value) else None

    def write(self, value: float) -> None:
        """Set all of them."""
        self.put(self.count, self.table, value)


class Plan:
    """One kernel, one t, one set of tensors.

    Args:
        graph: of an elementwise rule.
        cells: as the engine takes them, for which `cpu.can_run` holds, all of equal t.
        states: where each cell's slots and step number are looked up, step after step.
        keys: the name there of each slot, and of the step number (``t``) if it is kept.
    """

    def __init__(
        self, graph: Graph, cells: Sequence[Cell], states: Sequence[Mapping[str, torch.Tensor]], keys: Mapping[str, str]
    ):
        program = cpu.program(graph, cpu.memory_of(graph, cells[0]))
        (kernel,), (self.function,) = program.kernels, program.functions
        self.width = len(kernel.columns)
        self.gradient_column = kernel.columns.index("g") if "g" in kernel.columns else None
        self.wanted = len(kernel.scalars)
        self.step_keys = functools.partial(cpu.step_keys, kernel, cells[0]) if kernel.draws else None
        self.own = [name for name in graph.slots if graph.inputs[name].stage == "host"]
        self.host = host_function(graph, (*kernel.scalars, *(graph.outputs[name] for name in self.own)))
        self.dtypes = [cell.g.dtype for cell in cells]
        self.layouts = [torch.strided] * len(cells)
        self.places = [(state, key) for key in keys.values() for state in states]
        self.addresses = self._addresses([cell.p for cell in cells])
        ends = list(accumulate(cell.p.numel() for cell in cells))
        self.total, self.count = ends[-1], len(cells)
        self.ends = (ctypes.c_int64 * len(cells))(*ends)
        self.table = (ctypes.c_void_p * (len(cells) * self.width))()
        for k, cell in enumerate(cells):
            for c, name in enumerate(kernel.columns):
                if name != "g":
                    tensor = cell.p if name == "p" else cell.slots[name]
                    self.table[k * self.width + c] = tensor.data_ptr()
        self.scalars = (ctypes.c_double * max(1, self.wanted + len(kernel.draws)))()
        self.numbers = (ctypes.c_double * max(1, len(cells)))(*(k for c in cells for k in cpu.tensor_keys(kernel, c)))
        shared = ["t", *self.own] if "t" in keys else self.own
        self.shared = {name: Shared(program, [state[keys[name]] for state in states]) for name in shared}

    def _addresses(self, params: Sequence[torch.Tensor]) -> list[int]:
        found = [p.data_ptr() for p in params]
        found += [state[key].data_ptr() for state, key in self.places]
        return found

    @staticmethod
    def fits(graph: Graph, cells: Sequence[Cell]) -> bool:
        """Whether a plan can be made of these."""
        if len(graph.kernels) != 1 or not graph.elementwise or not cells:
            return False
        kinds = {(cell.t, cpu.memory_of(graph, cell)) for cell in cells}
        numbers = [cell.slots[name] for cell in cells for name in graph.slots if graph.inputs[name].stage == "host"]
        known = all(x.dtype in (torch.float32, torch.float64) for x in numbers)
        return len(kinds) == 1 and known and all(cpu.can_run(graph, cell) for cell in cells)

    def run(
        self, params: Sequence[torch.Tensor], gradients: Sequence[torch.Tensor], hyper: Mapping[str, Any], t: int
    ) -> bool:
        """Take the step, or say that the plan no longer fits.

        Args:
            params, gradients: one for each cell, in their order.
            hyper: plain numbers by the rule's own names.
            t: the step number, where the tensors keep none themselves.
        """
        if [g.layout for g in gradients] != self.layouts or [g.dtype for g in gradients] != self.dtypes:
            return False
        if not all([g.is_contiguous() for g in gradients]):  # their shapes are torch's care
            return False
        if self._addresses(params) != self.addresses or not all([p.is_contiguous() for p in params]):
            return False
        known: dict[str, Any] = {"t": t}
        for name, shared in self.shared.items():
            known[name] = shared.read()
            if known[name] is None:
                return False
        if "t" in self.shared:
            known["t"] = int(known["t"]) + 1
            self.shared["t"].write(known["t"])
        if self.gradient_column is not None:
            table, place, width = self.table, self.gradient_column, self.width
            for g in gradients:
                table[place] = g.data_ptr()
                place += width
        values = self.host(**known, **hyper)
        self.scalars[: self.wanted] = values[: self.wanted]
        if self.step_keys:
            self.scalars[self.wanted :] = self.step_keys(known["t"])
        for name, value in zip(self.own, values[self.wanted :], strict=True):
            self.shared[name].write(value)
        cpu.split(self.function, self.total, self.count, self.ends, self.table, self.scalars, self.numbers)
        return True
