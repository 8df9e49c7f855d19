"""A part of a planned step: the tensors that one call of a kernel takes, of one type and with one t."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any

import torch

from thalweg.engine import cpu
from thalweg.engine.c_struct import Struct, address_of, addresses, doubles, integers, reference, references, rows
from thalweg.engine.cell import Cell
from thalweg.engine.graph import Graph
from thalweg.engine.host import host_inputs
from thalweg.engine.model_wide import Run, alone

FIELDS = (
    "tensors", "params", "places", "dimensions", "shapes", "strides", "kinds", "bits",
    "kept", "owners", "keys", "values", "slots",
    "shared", "numbers", "wide", "counts", "inputs", "outputs", "scalars", "host",
    "total", "ends", "table", "width", "column", "kernel", "per_tensor", "launch",
)  # fmt: skip
_DLPACK = {
    torch.float64: (2, 64), torch.float32: (2, 32), torch.float16: (2, 16), torch.bfloat16: (4, 16),
    torch.complex128: (5, 128), torch.complex64: (5, 64), torch.complex32: (5, 32),
}  # fmt: skip


class Part:
    """What plan.cpp has to know of it.

    Args:
        graph: of the rule.
        cells: as the engine takes them.
        params: the same parameters as the group holds them, with their gradients.
        owners: the state of each, where its slots are looked up.
        keys: the name there of each slot, and of the step number (``t``) if it is kept.
        t: the step number, where the tensors keep none themselves.

    Attributes:
        struct: for plan.cpp.
        begun: of a rule that sums over the whole model: what is left of the step.
    """

    begun: Run

    def __init__(
        self, graph: Graph, cells: Sequence[Cell], params: Sequence[torch.Tensor], owners: Sequence[Any],
        keys: Mapping[str, str], t: int,
    ):  # fmt: skip
        self.program = program = cpu.program(graph, cpu.memory_of(graph, cells[0]))
        self.waits = graph.model_wide
        # plan.cpp fills in where the gradients lie for one kernel, the first that reads them.
        self.first = next((i for i, each in enumerate(program.kernels) if "g" in each.columns), 0)
        kernel = program.kernels[self.first]
        named = [{"p": cell.p, "g": cell.g, **cell.slots} for cell in cells]
        self.tables = [cpu.table_of(each, named) for each in program.kernels]
        self.facts = [[cpu.facts(each, cell) for cell in cells] for each in program.kernels]
        self.keys = [functools.partial(cpu.step_keys, each, cells[0].store.seed) for each in program.kernels]
        self.ends = integers(list(accumulate(cell.p.numel() for cell in cells)))
        self.inputs = doubles([t, *[0] * len(host_inputs(graph))])
        self.outputs = doubles([0] * (len(program.wanted) + len(kernel.draws)))
        self.per_tensor = doubles([number for each in self.facts[self.first] for number in each])

        kept = [(owner, key) for key in keys.values() for owner in owners]
        values = [owner[key] for owner, key in kept]
        shared = shared_numbers(graph, owners, keys)
        dtypes = [_DLPACK[p.grad.dtype] for p in params if p.grad is not None]
        self.struct = Struct(
            FIELDS,
            tensors=len(params),
            params=references(params),
            places=addresses([p.data_ptr() for p in params]),
            dimensions=integers([p.ndim for p in params]),
            shapes=rows([p.shape for p in params]),
            strides=rows([p.stride() for p in params]),
            kinds=integers([kind for kind, _ in dtypes]),
            bits=integers([bits for _, bits in dtypes]),
            kept=len(kept),
            owners=references([owner for owner, _ in kept]),
            keys=references([key for _, key in kept]),
            values=references(values),
            slots=addresses([x.data_ptr() for x in values]),
            shared=len(shared),
            numbers=addresses([x.data_ptr() for numbers in shared for x in numbers]),
            wide=integers([numbers[0].dtype is torch.float64 for numbers in shared]),
            counts="t" in keys,
            inputs=self.inputs,
            outputs=self.outputs,
            scalars=len(program.scalars),
            host=address_of(program.host),
            total=self.ends[-1],
            ends=self.ends,
            table=self.tables[self.first],
            width=len(kernel.columns),
            column=kernel.columns.index("g") if "g" in kernel.columns else -1,
            kernel=address_of(program.functions[self.first]),
            per_tensor=self.per_tensor,
            launch=reference(self._launch()),
        )

    def _launch(self) -> Callable[[], None] | None:
        """What plan.cpp calls where it cannot call the kernel by itself."""
        kernel = self.program.kernels[self.first]
        if len(self.program.kernels) > 1 or kernel.sums:
            return _weakly(self._pass_by_pass)
        return _weakly(self._split) if kernel.draws or self.ends[-1] >= 2 * cpu.ELEMENTS_PER_THREAD else None

    def _split(self) -> None:
        """One kernel that needs more: this step's random bits, or all of torch's threads, without the GIL."""
        kernel, function = self.program.kernels[self.first], self.program.functions[self.first]
        if kernel.draws:
            place, bits = len(kernel.scalars), self.keys[self.first](int(self.inputs[0]))
            self.outputs[place : place + len(bits)] = bits
        table = self.tables[self.first]
        cpu.split(function, self.ends[-1], len(self.ends), self.ends, table, self.outputs, self.per_tensor)

    def _pass_by_pass(self) -> None:
        """Several kernels: where the gradients lie has to be copied from the one table that plan.cpp fills in."""
        kernels, filled = self.program.kernels, self.tables[self.first]
        if "g" in kernels[self.first].columns:
            for kernel, table in zip(kernels, self.tables, strict=True):
                if table is not filled and "g" in kernel.columns:
                    cpu.column(kernel, table, "g")[:] = cpu.column(kernels[self.first], filled, "g")
        known = dict(zip(self.program.wanted, self.outputs, strict=False))
        keys = [keys(int(self.inputs[0])) for keys in self.keys]
        run = self.program.passes(known, self.ends, self.tables, self.facts, keys)
        if self.waits:
            self.begun = run
        else:
            alone([run])


def _weakly(method: Callable[[], None]) -> Callable[[], None]:
    """The method without a circle through its object: parameters are freed with their optimizer."""
    found = weakref.WeakMethod(method)

    def call() -> None:
        if (method := found()) is not None:
            method()

    return call


def shared_numbers(graph: Graph, owners: Sequence[Any], keys: Mapping[str, str]) -> list[list[torch.Tensor]]:
    """What tensors of one part have alike: the step counts if they are kept, and the rule's own numbers."""
    return [[owner[keys[name]] for owner in owners] for name in ("t", *graph.host_slots) if name in keys]
