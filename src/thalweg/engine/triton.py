"""The rule as Triton kernels on a GPU, in place: one launch per kernel for all tensors of a group.

Nothing waits for the device. What a launch needs to know of its tensors lies in a table in the device's memory
that stays from step to step; what changes (gradients that moved, the step's scalars) is written into it as
arguments of a launch. So a step can be captured in a CUDA graph, if its scalars are computed on the device
(``capturable=True``).
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from thalweg import ops
from thalweg.engine.cell import Cell, alike, copied, in_memory, laid_out_alike, plain, row_length
from thalweg.engine.graph import Graph, Node, evaluate
from thalweg.engine.host import host_function
from thalweg.engine.model_wide import Run, alone, gathered
from thalweg.engine.store import step_key
from thalweg.engine.trace import trace
from thalweg.engine.triton_machine import capturing, load, on, options, runs_on
from thalweg.engine.triton_source import LANES, MEMORY, Printed, print_kernels
from thalweg.engine.triton_table import KEPT, Table, column, mapped
from thalweg.signature import Rule, signature_of

# ---- from a graph to functions


class Program:
    """The kernels of one graph for one choice of memory types."""

    def __init__(self, graph: Graph, memory: tuple[tuple[str, str], ...]):
        self.graph, self.memory = graph, memory
        self.printed: Printed = print_kernels(graph, dict(memory))
        self.module = load(self.printed.source)
        self.by_rows = any(layout.means for layout in self.printed.layouts)
        self.own = graph.host_slots
        self.wanted = (*self.printed.scalars, *(graph.outputs[name] for name in self.own))
        self.host = host_function(graph, self.wanted)
        self.tables: OrderedDict[Any, Table] = OrderedDict()

    def run(self, cells: Sequence[Cell], hyper: Mapping[str, Any]) -> Run:
        """Update the cells in place; stops at a sum over the whole model.

        Args:
            cells: on one device. Their t and their slots that live on the host are the same for all, unless t is a
                tensor: then both are read on the device.
            hyper: by the rule's own names; a tensor on the cells' device is read there.
        """
        device = cells[0].p.device
        with on(device):
            table = self.table(cells)
            spare = torch.empty(table.room, dtype=torch.uint8, device=device)
            scalars = self.scalars(cells, hyper)
            on_device = isinstance(scalars, torch.Tensor)
            table.fill([cell.g.data_ptr() for cell in cells], spare.data_ptr(), [] if on_device else scalars)
        arguments = [
            table.data,
            len(cells),
            scalars if on_device else table.scalars,
            scalars.stride(0) if on_device else 0,
            table.numbers,
        ]
        wholes = sums = table.numbers  # before the first kernel nothing has been summed
        for i in range(len(self.printed.layouts) + 1):
            totals: list[int] = []
            with on(device):
                if i in self.printed.between:
                    firsts = table.map.firsts
                    self.launch(self.printed.between[i], len(cells), *arguments, sums, firsts, wholes, LANES=LANES)
                if i < len(self.printed.layouts):
                    layout = self.printed.layouts[i]
                    if layout.sums:
                        sums = torch.empty(table.map.blocks, len(layout.sums), dtype=torch.float64, device=device)
                    its, rows = table.map, []
                    if layout.means:
                        rows = [torch.empty(its.rows, len(layout.means), dtype=torch.float64, device=device)]
                        for j in range(len(layout.means)):
                            where = (*rows, its.row_owners, its.row_begins, its.lengths)
                            self.launch(f"{layout.name}_mean{j}", its.rows, *arguments, *where, BLOCK=its.block)
                        rows += [its.lengths, its.row_firsts]
                    blocks = (its.sizes, its.owners, its.chunks, *rows)
                    constants = {"BLOCK": its.block, "ALIGNED": table.aligned}
                    self.launch(layout.name, its.blocks, *arguments, sums, *blocks, **constants)
                    totals = [j for j, cut in enumerate(layout.sums) if cut.op == "total"]
                    wholes = sums.sum(0) if totals else wholes
            for j in totals:
                wholes[j] = yield wholes[j]

    def launch(self, name: str, programs: int, *arguments: Any, **constants: Any) -> None:
        """Run one of the source's functions on the current stream."""
        if programs:
            getattr(self.module, name)[(programs,)](*arguments, **constants, **options())

    def table(self, cells: Sequence[Cell]) -> Table:
        """The table of these tensors: the one of an earlier step, if they lie where they lay."""
        sizes = tuple(cell.p.numel() for cell in cells)
        lengths = tuple(row_length(cell.p) for cell in cells) if self.by_rows else ()
        places = tuple(place for name in self.printed.fixed for place in column(cells, name))
        device = cells[0].p.device
        item = 8 if dict(self.memory)["p"] == "float64" else 4
        given = self.printed, sizes, places, mapped(sizes, lengths, device), item
        if capturing(device):  # a replay writes its own addresses, and no step after it may trust them
            return Table(*given)
        key = device, sizes, lengths, places
        if key not in self.tables:
            self.tables[key] = Table(*given)
            if len(self.tables) > KEPT:
                self.tables.popitem(last=False)
        self.tables.move_to_end(key)
        return self.tables[key]

    def scalars(self, cells: Sequence[Cell], hyper: Mapping[str, Any]) -> list[float] | torch.Tensor:
        """The step's scalars: numbers where the host knows all that decides them, else (1 or tensors, scalars)."""
        device, graph, seed = cells[0].p.device, self.graph, cells[0].store.seed
        given: dict[str, Any] = dict(hyper)
        if isinstance(cells[0].t, torch.Tensor):
            given["t"] = torch.stack([torch.as_tensor(cell.t) for cell in cells]).double()
            given |= {n: torch.stack([cell.slots[n] for cell in cells]).to(device).double() for n in self.own}
        else:
            given["t"] = cells[0].t
            given |= {name: float(cells[0].slots[name]) for name in self.own}
        tensors = [value for value in given.values() if isinstance(value, torch.Tensor)]
        if not tensors:
            values = self.host(**given)
            for name, value in zip(self.own, values[len(self.printed.scalars) :], strict=True):
                _fill(cells, name, value)
            keys = [step_key(seed, int(given["t"]), place) for place in self.printed.draws]
            return [float(value) for value in (*values[: len(self.printed.scalars)], *keys)]
        known = {graph.inputs[name]: value for name, value in given.items() if name in graph.inputs}
        rows = max(len(value) if value.ndim else 1 for value in tensors)
        t: Any = given["t"].long() if isinstance(given["t"], torch.Tensor) else given["t"]
        values = [_value(node, known) for node in self.printed.scalars]
        values += [step_key(seed, t, place) for place in self.printed.draws]
        table = torch.empty(rows, max(1, len(values)), dtype=torch.float64, device=device)
        for j, value in enumerate(values):
            _put(table[:, j], value)
        for name in self.own:
            value = _value(graph.outputs[name], known)
            if not isinstance(value, torch.Tensor):  # the host knows it, and keeps it
                _fill(cells, name, value)
                continue
            new = torch.empty(rows, dtype=torch.float64, device=device)
            _put(new, value)
            torch._foreach_copy_(  # pyright: ignore[reportPrivateImportUsage]
                [cell.slots[name] for cell in cells], list(new.expand(len(cells)).unbind())
            )
        return table if rows > 1 or len(cells) == 1 else table.expand(len(cells), -1)


def _value(node: Node, known: dict[Node, Any]) -> Any:
    if node not in known:
        known[node] = node.value if node.op == "constant" else evaluate(node, [_value(a, known) for a in node.args])
    return known[node]


def _fill(cells: Sequence[Cell], name: str, value: float) -> None:
    for cell in cells:
        cell.slots[name].fill_(value)


def _put(where: torch.Tensor, value: Any) -> None:
    if isinstance(value, torch.Tensor):
        where.copy_(value)
    else:
        where.fill_(float(value))


@functools.lru_cache(maxsize=512)
def program(graph: Graph, memory: tuple[tuple[str, str], ...]) -> Program:
    """The kernels, kept for the life of the process."""
    return Program(graph, memory)


# ---- what an engine offers


def has_kernels(graph: Graph) -> bool:
    """Whether all of the graph can be printed: matrix operations cannot."""
    whole = [graph.outputs[n] for n in ("p", *graph.slots) if graph.inputs[n].stage == "element"]
    unknown = (*ops.MATRIX, "item")
    return graph.in_order and all(n.stage == "element" for n in whole) and not any(n.op in unknown for n in graph.nodes)


def can_run(graph: Graph, cell: Cell) -> bool:
    """Whether this engine can update the cell in place: on a GPU, of a known type, and laid out alike."""
    if not runs_on(cell.p.device) or not has_kernels(graph):
        return False
    tensors = [cell.p, cell.g, *(s for name, s in cell.slots.items() if name not in graph.host_slots)]
    known = all(x.device == cell.p.device and _name(x.dtype) in MEMORY and x.layout is torch.strided for x in tensors)
    return known and all(map(in_memory, tensors)) and laid_out_alike(graph, cell, tensors)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def memory_of(graph: Graph, cell: Cell) -> tuple[tuple[str, str], ...]:
    """The memory types of a cell's tensors: with the graph, what its kernels are printed for."""
    kept = cell.kept
    slots = [(n, cell.store.memory(n, kept)) for n in cell.slots if n not in graph.host_slots]
    return ("p", cell.store.memory("p", kept)), ("g", _name(cell.g.dtype)), *slots


def update(rule: Rule, cells: Sequence[Cell], hyper: Mapping[str, Any]) -> None:
    """Update parameters and slots in place, without waiting for the device.

    Args:
        rule: the formula.
        cells: each for which `can_run` holds.
        hyper: Python numbers or tensors of one element, by the rule's own names. A tensor on a GPU stays there.
    """
    alone([run(rule, cells, hyper)])


def run(rule: Rule, cells: Sequence[Cell], hyper: Mapping[str, Any]) -> Run:
    """The same for cells that are only a part of the model: see `model_wide`."""
    graph = trace(rule, **hyper)
    groups = alike(cells, functools.partial(memory_of, graph), graph.host_slots)
    runs = []
    for (device, memory, *_), same in groups.items():
        numbers = {name: number(hyper[name], device) for name in signature_of(rule).numbers}
        runs.append(program(graph, memory).run(same, numbers))
    yield from gathered(runs)


def number(value: Any, device: torch.device) -> Any:
    """A hyper-parameter: left on the device where it lies on the tensors' own GPU, else a Python number."""
    if isinstance(value, torch.Tensor) and value.device == device and device.type == "cuda":
        return value.detach().reshape(()).double()
    return plain(value)


def step(
    rule: Rule, cells: Sequence[Cell], hyper: Mapping[str, Any]
) -> list[tuple[torch.Tensor, dict[str, torch.Tensor]]]:
    """As `eager.step`: the inputs are left as they are, copies are updated."""
    copies = [copied(cell) for cell in cells]
    update(rule, copies, hyper)
    return [(c.p, c.slots) for c in copies]
