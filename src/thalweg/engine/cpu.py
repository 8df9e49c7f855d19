"""The rule as fused C++ kernels, in place: one pass over memory, all tensors of a group in one call."""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from typing import Any

import numpy as np
import torch

from thalweg import ops
from thalweg.engine import build
from thalweg.engine.cell import Cell, alike, copied, in_memory, laid_out_alike, plain, row_length
from thalweg.engine.cpp import MEMORY, print_kernels
from thalweg.engine.graph import Graph, Node, evaluate
from thalweg.engine.host import host_function, host_source
from thalweg.engine.layout import Layout
from thalweg.engine.model_wide import Run, alone, gathered
from thalweg.engine.store import step_key, tensor_key
from thalweg.engine.trace import trace
from thalweg.signature import Rule, signature_of

# Below this many elements a second thread costs more than it saves.
ELEMENTS_PER_THREAD = 1 << 17


class Program:
    """The compiled kernels of one graph for one choice of memory types, for one setting or one per tensor."""

    def __init__(self, graph: Graph, memory: tuple[tuple[str, str], ...], members: bool = False):
        self.graph = graph
        types = dict(memory)
        real = "double" if types["p"] == "float64" else "float"
        self.wide = np.float64 if real == "double" else np.float32
        self.source, self.kernels = print_kernels(graph, types, real, members)
        self.own = graph.host_slots
        numbers = [n for n in graph.nodes if n.stage == "number"]
        under = [a for n in numbers if n.op not in ops.REDUCTIONS for a in n.args if a.stage == "host"]
        self.scalars = [n for kernel in self.kernels for n in kernel.scalars]
        # What the C++ function for the host's numbers gives: scalars, the rule's own, what the tensors' numbers need.
        self.wanted = (*self.scalars, *(graph.outputs[name] for name in self.own), *under)
        self.source += host_source(graph, self.wanted)
        library = build.load(self.source)
        self.host = library.host
        pointer, integer = ctypes.c_void_p, ctypes.c_int64
        self.functions = []
        for kernel in self.kernels:
            function = getattr(library, kernel.name)
            function.argtypes = [integer, integer, integer, *[pointer] * 5]
            function.restype = None
            self.functions.append(function)

    def run(self, cells: Sequence[Cell], hyper: Mapping[str, Any]) -> Run:
        """Update the cells in place; their t and their slots that live on the host are the same for all."""
        graph = self.graph
        own = {name: float(cells[0].slots[name]) for name in graph.host_slots}
        given = {"t": cells[0].t, **hyper, **own}
        known: dict[Node, Any] = {graph.inputs[name]: value for name, value in given.items()}
        known |= zip(graph.host, host_function(graph, graph.host)(**given), strict=True)
        mine = [name for name in graph.slots if graph.inputs[name].stage == "number"]  # fed by a cut
        known |= {graph.inputs[name]: np.array([float(cell.slots[name]) for cell in cells]) for name in mine}
        ends = list(accumulate(cell.p.numel() for cell in cells))
        named = [{"p": cell.p, "g": cell.g, **cell.slots} for cell in cells]
        yield from self.passes(
            known,
            (ctypes.c_int64 * len(ends))(*ends),
            [table_of(kernel, named) for kernel in self.kernels],
            [[facts(kernel, cell) for cell in cells] for kernel in self.kernels],
            [step_keys(kernel, cells[0].store.seed, cells[0].t) for kernel in self.kernels],
        )
        for name in graph.slots:
            if graph.outputs[name].stage != "element":
                for cell, new in zip(
                    cells, np.broadcast_to(value(graph.outputs[name], known), len(cells)), strict=True
                ):
                    cell.slots[name].fill_(float(new))

    def passes(
        self, known: dict[Node, Any], ends: Any, tables: Sequence[Any], facts: Sequence[Any], keys: Sequence[list[int]]
    ) -> Run:
        """One kernel after the other, stopping at every sum over the whole model.

        Args:
            known: the step's scalars, and what the tensors' numbers are made of; sums and numbers are added.
            ends: where each tensor ends.
            tables, facts, keys: for each kernel its pointers, what follows its tensors' numbers and its scalars.
                The pointers to temporaries are filled in.
        """
        tensors = len(ends)
        spare = self._temporaries(ends, tables)  # there until the last kernel has run
        for i, kernel in enumerate(self.kernels):
            numbers = np.zeros((tensors, max(1, kernel.width)))
            numbers[:, len(kernel.numbers) : kernel.width] = facts[i]
            for j, node in enumerate(kernel.numbers):
                numbers[:, j] = value(node, known)
            scalars = [*(float(known[n]) for n in kernel.scalars), *keys[i]]
            scalars_array = (ctypes.c_double * max(1, len(scalars)))(*scalars)
            width = tensors * len(kernel.sums)
            place = numbers.ctypes.data
            parts = split(self.functions[i], ends[-1], tensors, ends, tables[i], scalars_array, place, width)
            if kernel.sums:
                sums = np.sum([np.frombuffer(part) for part in parts], axis=0).reshape(tensors, -1)
                for j, cut in enumerate(kernel.sums):
                    whole = cut.op == "total"
                    known[cut] = np.float64(float((yield float(sums[:, j].sum())))) if whole else np.sqrt(sums[:, j])
        del spare

    def _temporaries(self, ends: Any, tables: Sequence[Any]) -> dict[str, np.ndarray]:
        """Memory for what lives between two kernels only, one tensor after the other; the tables point there."""
        names = {name for kernel in self.kernels for name in kernel.temporaries}
        spare = {name: np.empty(ends[-1], self.wide) for name in names}
        for kernel, table in zip(self.kernels, tables, strict=True):
            for name in kernel.temporaries:
                memory = spare[name]
                column(kernel, table, name)[:] = memory.ctypes.data + memory.itemsize * np.array([0, *ends[:-1]])
        return spare


def value(node: Node, known: dict[Node, Any]) -> Any:
    """The value of a node that is no element's, computed once: one number, or one for each tensor."""
    if node not in known:
        with np.errstate(all="ignore"):
            known[node] = node.value if node.op == "constant" else evaluate(node, [value(a, known) for a in node.args])
    return known[node]


def step_keys(kernel: Layout, seed: int, t: int) -> list[int]:
    """This step's keys of the random bits, one for each value that is rounded by chance."""
    return [step_key(seed, t, place) for place in kernel.draws.values()]


def facts(kernel: Layout, cell: Cell) -> list[int]:
    """What follows a tensor's numbers: the length of its rows, its own key, each where the kernel needs it."""
    rows = [row_length(cell.p)] if kernel.means else []
    return rows + ([tensor_key(cell.tensor)] if kernel.draws else [])


def table_of(kernel: Layout, named: Sequence[Mapping[str, torch.Tensor]]) -> Any:
    """A kernel's pointers, tensor by tensor; those to temporaries are still to come."""
    rows = [[each[place].data_ptr() if place in each else None for place in kernel.columns] for each in named]
    pointers = [pointer for row in rows for pointer in row]
    return (ctypes.c_void_p * max(1, len(pointers)))(*pointers)


def column(kernel: Layout, table: Any, place: str) -> np.ndarray:
    """The addresses of one column of a kernel's table, to be written."""
    return np.frombuffer(table, dtype=np.uint64)[kernel.columns.index(place) :: len(kernel.columns)]


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="thalweg")


if hasattr(os, "register_at_fork"):  # a fork has the pool, but none of its threads
    os.register_at_fork(after_in_child=_pool.cache_clear)


def split(
    function: Any, total: int, tensors: int, ends: Any, table: Any, scalars: Any, numbers: Any, width: int = 0
) -> list[Any]:
    """Call a kernel on all elements: in this thread, or in as many as torch uses, cut by elements.

    Returns the sums of each part, `width` of them.
    """
    parts = max(1, min(torch.get_num_threads(), total // ELEMENTS_PER_THREAD))
    sums = [(ctypes.c_double * max(1, width))() for _ in range(parts)]
    if parts == 1:
        function(0, total, tensors, ends, table, scalars, numbers, sums[0])
        return sums
    edges = [total * part // parts for part in range(parts + 1)]
    others = [
        _pool(parts - 1).submit(function, edges[i], edges[i + 1], tensors, ends, table, scalars, numbers, sums[i])
        for i in range(1, parts)
    ]
    function(0, edges[1], tensors, ends, table, scalars, numbers, sums[0])
    for other in others:
        other.result()
    return sums


@functools.lru_cache(maxsize=512)
def program(graph: Graph, memory: tuple[tuple[str, str], ...], members: bool = False) -> Program:
    """The compiled kernels, kept for the life of the process."""
    return Program(graph, memory, members)


@functools.lru_cache(maxsize=512)
def has_kernels(graph: Graph) -> bool:
    """Whether all of the graph can be printed: matrix operations cannot."""
    return graph.in_order and not any(n.op in (*ops.MATRIX, "item") for n in graph.nodes)


def can_run(graph: Graph, cell: Cell) -> bool:
    """Whether this engine can update the cell in place: on the CPU, of a known type, and laid out alike."""
    tensors = [cell.p, cell.g, *(s for s in cell.slots.values() if s.ndim or not cell.p.ndim)]
    known = all(x.device.type == "cpu" and _name(x.dtype) in MEMORY and x.layout is torch.strided for x in tensors)
    if not known or not has_kernels(graph) or not all(map(in_memory, tensors)):
        return False
    return laid_out_alike(graph, cell, tensors)


@functools.cache
def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def memory_of(graph: Graph, cell: Cell) -> tuple[tuple[str, str], ...]:
    """The memory types of a cell's tensors: with the graph, what its kernels are compiled for."""
    kept = cell.kept
    found = {name: cell.store.memory(name, kept) for name in kept}
    one_number = [name for name in graph.slots if graph.inputs[name].stage != "element"]
    slots = [(name, kind) for name, kind in found.items() if name != "p" and name not in one_number]
    return ("p", found["p"]), ("g", _name(cell.g.dtype)), *slots


def update(rule: Rule, cells: Sequence[Cell], hyper: Mapping[str, Any]) -> None:
    """Update parameters and slots in place.

    Args:
        rule: the formula.
        cells: each for which `can_run` holds.
        hyper: Python numbers or tensors of one element, by the rule's own names.
    """
    alone([run(rule, cells, hyper)])


def run(rule: Rule, cells: Sequence[Cell], hyper: Mapping[str, Any]) -> Run:
    """The same for cells that are only a part of the model: see `model_wide`."""
    graph = trace(rule, **hyper)
    numbers = {name: plain(hyper[name]) for name in signature_of(rule).numbers}
    groups = alike(cells, functools.partial(memory_of, graph), graph.host_slots)
    yield from gathered([program(graph, memory).run(same, numbers) for (_, memory, *_), same in groups.items()])


def step(
    rule: Rule, cells: Sequence[Cell], hyper: Mapping[str, Any]
) -> list[tuple[torch.Tensor, dict[str, torch.Tensor]]]:
    """As `eager.step`: the inputs are left as they are, copies are updated."""
    copies = [copied(cell) for cell in cells]
    update(rule, copies, hyper)
    return [(c.p, c.slots) for c in copies]
