"""A group's step, prepared: what does not change between steps is looked up once.

A plan holds the pointer tables of the fused kernels for fixed parameters and slots. Each step, plan.cpp asks the
tensors whether they still lie where they lay, fills in the gradients' addresses and the step's scalars, and
calls the kernels, one for each part of the group (part.py) whose tensors have one type and one t: a microsecond or two
for a small model. Whatever does not fit makes it say no, and the door takes the general way.
"""

from __future__ import annotations

import ctypes
import functools
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from thalweg.engine import build, cpu
from thalweg.engine.c_struct import POINTER, Struct, addresses, doubles, integers, reference, references
from thalweg.engine.cell import Cell, plain
from thalweg.engine.graph import Graph
from thalweg.engine.model_wide import Run, gathered
from thalweg.engine.part import Part, shared_numbers

_SOURCE = Path(__file__).with_name("plan.cpp").read_text()  # now: it must be of one version with FIELDS


FIELDS = (
    "parts", "part", "listed", "params", "still", "known", "states",
    "switches", "switch_names", "switch_values", "amounts", "amount_names", "amounts_on",
    "hypers", "hyper_names", "items", "defaults", "settings",
    "torch", "grad", "tensor", "is_neg", "is_conj", "plain", "written", "moved",
)  # fmt: skip


class Settings(NamedTuple):
    """Where a group keeps what a step needs to know.

    Attributes:
        numbers: where each of the rule's hyper-parameters stands: under which key, at which place of a tuple
            (or None), and its value where the group does not have it.
        switches: the keys whose values may not change: flags, the direction.
        amounts: the keys of numbers that may not change between zero and not zero.
    """

    numbers: Mapping[str, tuple[str, int | None, Any]]
    switches: Sequence[str] = ()
    amounts: Sequence[str] = ()


def moving(group: Mapping[str, Any]) -> list[torch.Tensor]:
    """The parameters of a group that have a gradient: the others are left alone."""
    return [p for p in group["params"] if p.grad is not None]


class Plan:
    """The next steps of one group of tensors.

    Args:
        graph: of a rule that the kernels can run.
        cells: as the engine takes them, for which `fits` holds.
        group: the parameter group; those of its ``params`` that have a gradient are the cells', in order.
        state: of the optimizer, where each parameter's slots and step number are looked up, step after step.
        keys: the name there of each slot, and of the step number (``t``) if it is kept.
        settings: where the group keeps the hyper-parameters.
        t: the step number, where the tensors keep none themselves.

    Attributes:
        ready: called with the group, its parameters and the optimizer's state, it says whether the step can be taken
            so; nothing changes. `take`: takes it then.
        stops: whether the rule sums over the whole model. Then a step only begins, and its `rest` is to be run
            together with that of the other groups.
    """

    ready: Callable[[dict[str, Any], list[torch.Tensor], Mapping[Any, Any]], bool]
    take: Callable[[], Any]

    def __init__(
        self, graph: Graph, cells: Sequence[Cell], group: Mapping[str, Any], state: Mapping[Any, Any],
        keys: Mapping[str, str], settings: Settings, t: int,
    ):  # fmt: skip
        params = moving(group)
        owners = [state.get(p, {}) for p in params]
        self.stops = graph.model_wide
        self.parts = [
            Part(graph, [cells[i] for i in its], [params[i] for i in its], [owners[i] for i in its], keys, t)
            for its in _alike(graph, cells, shared_numbers(graph, owners, keys))
        ]
        where = [settings.numbers[name] for name in graph.signature.numbers]
        on = [(3 if group[key] is None else bool(group[key])) if key in group else 2 for key in settings.amounts]
        self.struct = Struct(
            FIELDS,
            parts=len(self.parts),
            part=addresses([part.struct.address for part in self.parts]),
            listed=len(group["params"]),
            params=references(group["params"]),
            still=integers([p.grad is None for p in group["params"]]),
            known=len(state),
            states=references(list(state.values())),
            switches=len(settings.switches),
            switch_names=references(settings.switches),
            switch_values=references([group.get(key) for key in settings.switches]),
            amounts=len(settings.amounts),
            amount_names=references(settings.amounts),
            amounts_on=integers(on),
            hypers=len(where),
            hyper_names=references([key for key, _, _ in where]),
            items=integers([-1 if item is None else item for _, item, _ in where]),
            defaults=doubles([plain(default) for _, _, default in where]),
            settings=doubles([0] * len(where)),
            torch=_exchange(),
            grad=reference("grad"),
            tensor=reference(torch.Tensor),
            is_neg=reference(torch.Tensor.is_neg),
            is_conj=reference(torch.Tensor.is_conj),
            plain=reference(plain),
            written=reference(_written),
            moved=reference(params),
        )
        self.ready, self.take = (library().planned(self.struct.address, taken) for taken in (False, True))

    def rest(self) -> list[Run]:
        """What is left of the step that just began."""
        return [gathered([part.begun for part in self.parts])]

    @staticmethod
    def fits(graph: Graph, cells: Sequence[Cell], counts: Sequence[Any] = ()) -> bool:
        """Whether a plan can be made of these, and of the step counts that the tensors keep."""
        if not cells or library() is None or not cpu.has_kernels(graph):
            return False
        if any(graph.inputs[name].stage == "number" for name in graph.slots):
            return False  # numbers that a cut feeds are written by the general way
        numbers = [cell.slots[name] for cell in cells for name in graph.host_slots]
        return all(map(_readable, (*numbers, *counts))) and all(cpu.can_run(graph, cell) for cell in cells)


def _alike(graph: Graph, cells: Sequence[Cell], shared: Sequence[Sequence[torch.Tensor]]) -> list[list[int]]:
    """The places of the cells that go together: they lie alike in memory, and have the same t and other numbers."""
    parts: dict[Any, list[int]] = defaultdict(list)
    for i, cell in enumerate(cells):
        own = [numbers[i] for numbers in shared]
        parts[cpu.memory_of(graph, cell), *((x.dtype, float(x)) for x in own)].append(i)
    return list(parts.values())


def _readable(x: Any) -> bool:
    """Whether plan.cpp can read and write this number."""
    known = isinstance(x, torch.Tensor) and x.dtype in (torch.float32, torch.float64)
    return known and x.device.type == "cpu" and x.numel() == 1


# What torch.autograd.graph.increment_version calls, after a look at its argument that takes longer than the call.
_written = getattr(torch._C, "_increment_version", torch.autograd.graph.increment_version)


@functools.cache
def _exchange() -> int:
    """The address of torch's functions for DLPack, major version 1; 0 before torch 2.10, which has none."""
    capsule = getattr(torch.Tensor, "__dlpack_c_exchange_api__", None)
    if capsule is None:
        return 0
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.argtypes, pointer.restype = [ctypes.py_object, ctypes.c_char_p], POINTER
    address = pointer(capsule, b"dlpack_exchange_api") or 0
    return address if ctypes.c_uint32.from_address(address).value == 1 else 0


@functools.cache
def library() -> Any:
    """plan.cpp, compiled for this Python; None where that does not work: then every step takes the general way."""
    if not _exchange():
        return None
    try:
        loaded = build.load(_SOURCE, ctypes.PyDLL)
    except (build.NoCompiler, OSError):
        return None
    loaded.planned.argtypes, loaded.planned.restype = [ctypes.py_object, ctypes.c_int], ctypes.py_object
    return loaded
