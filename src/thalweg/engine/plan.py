"""A group's step, prepared: what does not change between steps is looked up once.

A plan holds the pointer table of the fused kernels for fixed parameters and slots. Each step it asks the
tensors whether they still lie where they lay, fills in the gradients' addresses and the step's scalars, and
calls the kernel. Whatever does not fit makes it say no, and the door takes the general way.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import torch

from thalweg.engine import cpu
from thalweg.engine.cell import Cell
from thalweg.engine.graph import Graph
from thalweg.engine.host import host_function


class Plan:
    """One kernel, one t, one set of tensors.

    Args:
        graph: of an elementwise rule whose slots all have the parameter's shape.
        cells: as the engine takes them, for which `cpu.can_run` holds, all of equal t.
        counters: the tensors in which the step numbers are kept, one per cell, or none at all.
        states: where each cell's slots are looked up, step after step.
        keys: the name of each slot there.
    """

    def __init__(
        self,
        graph: Graph,
        cells: Sequence[Cell],
        counters: Sequence[torch.Tensor],
        states: Sequence[Mapping[str, torch.Tensor]],
        keys: Mapping[str, str],
    ):
        first = cells[0]
        program = cpu.program(graph, cpu.memory_of(graph, first))
        (kernel,), (self.function,) = program.kernels, program.functions
        self.width = len(kernel.columns)
        self.gradient_column = kernel.columns.index("g") if "g" in kernel.columns else None
        self.host = host_function(graph, kernel.scalars)
        self.numbers = graph.signature.numbers
        self.shapes = [cell.g.shape for cell in cells]
        self.dtypes = [cell.g.dtype for cell in cells]
        self.layouts = [torch.strided] * len(cells)
        self.places = [(state, keys[name]) for name in graph.slots for state in states]
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
        self.scalars = (ctypes.c_double * max(1, len(kernel.scalars)))()
        self.nothing = (ctypes.c_double * 1)()
        self.counters = list(counters)
        self.counter_table = (ctypes.c_void_p * max(1, len(counters)))(*(c.data_ptr() for c in counters))
        self.advance = program.counts[bool(counters) and counters[0].dtype is torch.float64]

    def _addresses(self, params: Sequence[torch.Tensor]) -> list[int]:
        found = [p.data_ptr() for p in params]
        found += [state[key].data_ptr() for state, key in self.places]
        return found

    @staticmethod
    def fits(graph: Graph, cells: Sequence[Cell], counters: Sequence[torch.Tensor]) -> bool:
        """Whether a plan can be made of these."""
        if len(graph.kernels) != 1 or not graph.elementwise or not cells:
            return False
        if any(graph.inputs[name].stage != "element" for name in graph.slots):
            return False
        kinds = {(cell.t, cpu.memory_of(graph, cell)) for cell in cells}
        return len(kinds) == 1 and len({c.dtype for c in counters}) <= 1 and all(cpu.can_run(graph, c) for c in cells)

    def run(
        self,
        params: Sequence[torch.Tensor],
        gradients: Sequence[torch.Tensor],
        hyper: Mapping[str, Any],
        t: int | None,
    ) -> bool:
        """Take the step, or say that the plan no longer fits.

        Args:
            params, gradients: one for each cell, in their order.
            hyper: plain numbers by the rule's own names.
            t: the step number, or None to take it from the counters.
        """
        if [g.layout for g in gradients] != self.layouts or [g.dtype for g in gradients] != self.dtypes:
            return False
        if [g.shape for g in gradients] != self.shapes or not all([g.is_contiguous() for g in gradients]):
            return False
        if self._addresses(params) != self.addresses:
            return False
        if self.counters:
            before = self.counters[0].item()
            if not self.advance(self.count, self.counter_table, before):
                return False
            t = int(before) + 1
        if self.gradient_column is not None:
            table, place, width = self.table, self.gradient_column, self.width
            for g in gradients:
                table[place] = g.data_ptr()
                place += width
        scalars = self.host(t=t, **hyper)
        self.scalars[: len(scalars)] = scalars
        cpu.split(self.function, self.total, self.count, self.ends, self.table, self.scalars, self.nothing)
        return True
