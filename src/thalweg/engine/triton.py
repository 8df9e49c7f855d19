"""The rule as Triton kernels on a GPU, in place: one launch per kernel for all tensors of a group.

Nothing waits for the device. What a launch needs to know of its tensors lies in a table in the device's memory
that stays from step to step; what changes (gradients that moved, the step's scalars) is written into it as
arguments of a launch. So a step can be captured in a CUDA graph, if its scalars are computed on the device
(``capturable=True``).
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import os
import struct
import sys
import tempfile
from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from thalweg import ops
from thalweg.engine import build
from thalweg.engine.cell import Cell, copied, plain
from thalweg.engine.graph import Graph, Node, evaluate
from thalweg.engine.host import host_function
from thalweg.engine.interpreted import words
from thalweg.engine.model_wide import Run, alone, gathered
from thalweg.engine.store import step_key, tensor_key
from thalweg.engine.trace import trace
from thalweg.engine.triton_source import LANES, MEMORY, TENSOR_KEY, VALUES, WRITE, Printed, print_kernels
from thalweg.extras import require
from thalweg.signature import Rule, signature_of

BLOCK = 1024  # elements of one tensor that one program of a launch updates
KEPT = 16  # tables that a program remembers


@functools.cache
def interpreting() -> bool:
    """Whether Triton's interpreter runs the kernels, on tensors of the CPU.

    Raises:
        MissingExtra: triton is not installed.
    """
    return bool(require("triton", "triton").knobs.runtime.interpret)


@functools.cache
def options() -> dict[str, Any]:
    """How Triton compiles: products and sums are rounded one by one, as in eager, and small numbers stay."""
    chosen = {"num_warps": 4, "enable_fp_fusion": False}
    if torch.version.cuda:
        known = require("triton.backends.nvidia.compiler", "triton").CUDAOptions.__dataclass_fields__
        chosen |= {"enable_reflect_ftz": False} if "enable_reflect_ftz" in known else {}
    return chosen


@functools.cache
def installed() -> bool:
    """Whether triton can be imported."""
    return importlib.util.find_spec("triton") is not None


def runs_on(device: torch.device) -> bool:
    """Whether the kernels run on tensors of that device: a GPU, or the CPU where the interpreter is on."""
    return installed() and device.type == ("cpu" if interpreting() else "cuda")


# ---- from a graph to functions


class Program:
    """The kernels of one graph for one choice of memory types."""

    def __init__(self, graph: Graph, memory: tuple[tuple[str, str], ...]):
        self.graph, self.memory = graph, memory
        self.printed: Printed = print_kernels(graph, dict(memory))
        self.module = load(self.printed.source)
        self.fixed = [c for c in self.printed.columns if c != "g" and not c.startswith("temporary")]
        self.own = [name for name in graph.slots if graph.inputs[name].stage == "host"]
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
                    blocks = (table.map.sizes, table.map.owners, table.map.chunks)
                    constants = {"BLOCK": BLOCK, "ALIGNED": table.aligned}
                    self.launch(layout.name, table.map.blocks, *arguments, sums, *blocks, **constants)
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
        places = tuple(_entry(cell, name) for name in self.fixed for cell in cells)
        device = cells[0].p.device
        if capturing(device):  # a replay writes its own addresses, and no step after it may trust them
            return Table(self, sizes, places, device)
        key = device, sizes, places
        if key not in self.tables:
            self.tables[key] = Table(self, sizes, places, device)
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
            if capturing(device) and (graph.uses_t or self.own):
                raise RuntimeError(
                    "a step is captured whose scalars change from step to step: its optimizer needs capturable=True."
                )
            values = self.host(**given)
            for name, value in zip(self.own, values[len(self.printed.scalars) :], strict=True):
                for cell in cells:
                    cell.slots[name].fill_(value)
            keys = [step_key(seed, int(given["t"]), place) for place in self.printed.draws]
            return [float(value) for value in (*values[: len(self.printed.scalars)], *keys)]
        known = {graph.inputs[name]: value for name, value in given.items() if name in graph.inputs}
        rows = max(len(value) if value.ndim else 1 for value in tensors)
        t: Any = given["t"].long() if isinstance(given["t"], torch.Tensor) else given["t"]
        values = [_value(node, known) for node in self.printed.scalars]
        values += [step_key(seed, t, place) for place in self.printed.draws]
        table = torch.empty(rows, max(1, len(values)), dtype=torch.float64, device=device)
        for column, value in enumerate(values):
            _put(table[:, column], value)
        for name in self.own:
            new = torch.empty(rows, dtype=torch.float64, device=device)
            _put(new, _value(graph.outputs[name], known))
            torch._foreach_copy_(  # pyright: ignore[reportPrivateImportUsage]
                [cell.slots[name] for cell in cells], list(new.expand(len(cells)).unbind())
            )
        return table if rows > 1 or len(cells) == 1 else table.expand(len(cells), -1)


class Map:
    """Which block of a launch updates which chunk of which tensor."""

    def __init__(self, sizes: tuple[int, ...], device: torch.device):
        if capturing(device):
            raise RuntimeError("a step is captured that has never run: take one step before the capture.")
        each = [-(-size // BLOCK) for size in sizes]
        self.blocks = sum(each)
        owners = [k for k, count in enumerate(each) for _ in range(count)]
        chunks = [chunk for count in each for chunk in range(count)]
        self.sizes = torch.tensor(sizes, dtype=torch.int64, device=device)
        self.owners = torch.tensor(owners, dtype=torch.int32, device=device)
        self.chunks = torch.tensor(chunks, dtype=torch.int32, device=device)
        self.firsts = torch.tensor([0, *accumulate(each)], dtype=torch.int32, device=device)


@functools.lru_cache(maxsize=64)
def _map(sizes: tuple[int, ...], device: torch.device) -> Map:
    return Map(sizes, device)


class Table:
    """The addresses of a launch's tensors in the device's memory, and behind them the step's scalars.

    Column by column: what stays, then temporaries and gradients, then the scalars, so that what changes from step to
    step lies together.
    """

    def __init__(self, program: Program, sizes: tuple[int, ...], places: tuple[int, ...], device: torch.device):
        self.program, self.map, self.sizes = program, _map(sizes, device), sizes
        printed = program.printed
        moving = len(sizes) * (len(printed.columns) - len(program.fixed))
        self.begin = len(places)
        end = (self.begin + moving + 1) // 2 * 2  # scalars begin at a multiple of 16 bytes
        self.padding = end - self.begin - moving
        entries = end + len(printed.scalars) + len(printed.draws) + 1
        self.data = torch.empty(entries, dtype=torch.int64, device=device)
        self.scalars = self.data[end:].view(torch.float64)
        self.numbers = torch.empty(max(1, len(sizes) * len(printed.numbers)), dtype=torch.float64, device=device)
        item = 8 if dict(program.memory)["p"] == "float64" else 4
        room = [-(-size * item // 16) * 16 for size in sizes] * (moving // len(sizes) - ("g" in printed.columns))
        self.offsets, self.room = list(accumulate([0, *room]))[:-1], sum(room)  # of temporaries between two kernels
        self.moving: list[int] = []
        self.aligned = False
        addresses = [places[i] for i in range(len(places)) if program.fixed[i // len(sizes)] != TENSOR_KEY]
        self.still = all(place % 16 == 0 for place in addresses)
        self.write(0, list(places))

    def fill(self, gradients: list[int], spare: int, scalars: list[float]) -> None:
        """Write what has changed since the last step."""
        moving = [spare + offset for offset in self.offsets]
        if "g" in self.program.printed.columns:
            moving += gradients
        self.aligned = self.still and all(place % 16 == 0 for place in moving)
        bits = struct.unpack(f"{len(scalars)}q", struct.pack(f"{len(scalars)}d", *scalars))
        values = [*moving, *[0] * self.padding, *bits]
        same = 0  # often the gradients lie where they lay
        for new, old in zip(values, self.moving, strict=False):
            if new != old:
                break
            same += 1
        self.write(self.begin + same, values[same:])
        self.moving = values

    def write(self, begin: int, values: list[int]) -> None:
        """Put values into the table, as arguments of launches."""
        for at in range(0, len(values), VALUES):
            part = values[at : at + VALUES]
            padded = [*part, *[0] * (VALUES - len(part))]
            load(WRITE).write[(1,)](self.data[begin + at :], len(part), *padded)


def _entry(cell: Cell, name: str) -> int:
    """What stands in the table for a tensor: an address, or its own key of random bits."""
    return tensor_key(cell.tensor) if name == TENSOR_KEY else cell.kept[name].data_ptr()


def _value(node: Node, known: dict[Node, Any]) -> Any:
    if node not in known:
        known[node] = node.value if node.op == "constant" else evaluate(node, [_value(a, known) for a in node.args])
    return known[node]


def _put(where: torch.Tensor, value: Any) -> None:
    if isinstance(value, torch.Tensor):
        where.copy_(value)
    else:
        where.fill_(float(value))


def capturing(device: torch.device) -> bool:
    """Whether what is launched now goes into a CUDA graph."""
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()


@contextlib.contextmanager
def on(device: torch.device) -> Iterator[None]:
    """Launches go to this device's current stream; in the interpreter, numpy does not warn of infinities."""
    with torch.cuda.device(device) if device.type == "cuda" else np.errstate(all="ignore"):
        yield


# ---- from a source to a module


@functools.lru_cache(maxsize=512)
def load(source: str) -> ModuleType:
    """The module of a printed source. It lies in the cache folder, for Triton reads a function's text from its file."""
    key = hashlib.sha256(source.encode()).hexdigest()[:24]
    path = build.cache_folder() / f"{key}.py"
    if not path.exists():
        handle, written = tempfile.mkstemp(dir=path.parent, suffix=".part")
        with os.fdopen(handle, "w") as file:
            file.write(source)
        Path(written).replace(path)
    spec = importlib.util.spec_from_file_location(f"thalweg_kernels_{key}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    if interpreting():
        vars(module).update(words())
    return module


@functools.lru_cache(maxsize=512)
def program(graph: Graph, memory: tuple[tuple[str, str], ...]) -> Program:
    """The kernels, kept for the life of the process."""
    return Program(graph, memory)


# ---- what an engine offers


def has_kernels(graph: Graph) -> bool:
    """Whether all of the graph can be printed: matrix operations cannot."""
    whole = [graph.outputs[n] for n in ("p", *graph.slots) if graph.inputs[n].stage == "element"]
    unknown = (*ops.MATRIX, *ops.ROWS, "item")
    return graph.in_order and all(n.stage == "element" for n in whole) and not any(n.op in unknown for n in graph.nodes)


def can_run(graph: Graph, cell: Cell) -> bool:
    """Whether this engine can update the cell in place: on a GPU, dense, contiguous, a known type."""
    if not runs_on(cell.p.device) or not has_kernels(graph):
        return False
    slots = [s for name, s in cell.slots.items() if not _hosts(graph, name)]
    return all(
        x.device == cell.p.device and x.is_contiguous() and _name(x.dtype) in MEMORY and x.layout is torch.strided
        for x in (cell.p, cell.g, *slots)
    )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def memory_of(graph: Graph, cell: Cell) -> tuple[tuple[str, str], ...]:
    """The memory types of a cell's tensors: with the graph, what its kernels are printed for."""
    kept = cell.kept
    slots = [(n, cell.store.memory(n, kept)) for n in cell.slots if not _hosts(graph, n)]
    return ("p", cell.store.memory("p", kept)), ("g", _name(cell.g.dtype)), *slots


def _hosts(graph: Graph, name: str) -> bool:
    """Whether what is kept under a name is a number of the host's."""
    return name in graph.slots and graph.inputs[name].stage == "host"


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
    groups: dict[Any, list[Cell]] = defaultdict(list)
    for cell in cells:
        t: Any = cell.t
        if isinstance(t, torch.Tensor):
            shared: Any = "on the device"
        else:
            shared = t, *(float(s) for n, s in cell.slots.items() if _hosts(graph, n))
        groups[cell.p.device, memory_of(graph, cell), cell.store.seed, shared].append(cell)
    runs = []
    for (device, memory, _, _), same in groups.items():
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
