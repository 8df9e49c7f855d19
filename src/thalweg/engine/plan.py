"""A group's step, prepared: what does not change between steps is looked up once.

A plan holds the pointer table of the fused kernel for fixed parameters and slots. Each step, plan.cpp asks the
tensors whether they still lie where they lay, fills in the gradients' addresses and the step's scalars, and
calls the kernel: a microsecond or two for a small model. Whatever does not fit makes it say no, and the door takes
the general way.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import torch

from thalweg.engine import build, cpu
from thalweg.engine.cell import Cell, plain
from thalweg.engine.graph import Graph
from thalweg.engine.host import host_inputs
from thalweg.engine.model_wide import Run, alone

_POINTER, _INTEGER = ctypes.c_void_p, ctypes.c_int64
_SOURCE = Path(__file__).with_name("plan.cpp").read_text()  # now: it must be of one version with FIELDS


FIELDS = (
    "listed", "params", "still", "tensors", "places", "dimensions", "shapes", "strides", "kind", "bits",
    "known", "states", "kept", "owners", "keys", "values", "slots",
    "switches", "switch_names", "switch_values", "amounts", "amount_names", "amounts_on",
    "shared", "numbers", "wide", "counts", "hypers", "hyper_names", "items", "defaults",
    "inputs", "outputs", "scalars", "host",
    "total", "ends", "table", "width", "column", "kernel", "per_tensor", "launch",
    "torch", "grad", "tensor", "is_neg", "plain", "written", "moved",
)  # fmt: skip


class _Struct(ctypes.Structure):
    """The struct of plan.cpp, field by field: numbers and addresses, each of 64 bits."""

    _fields_ = [(name, _INTEGER) for name in FIELDS]


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
    """One t, one set of tensors.

    Args:
        graph: of a rule that the kernels can run.
        cells: as the engine takes them, for which `fits` holds.
        group: the parameter group; those of its ``params`` that have a gradient are the cells', in order.
        state: of the optimizer, where each parameter's slots and step number are looked up, step after step.
        keys: the name there of each slot, and of the step number (``t``) if it is kept.
        settings: where the group keeps the hyper-parameters.
        t: the step number, where the tensors keep none themselves.

    Attributes:
        step: called with the group, its parameters and the optimizer's state, it takes the step and returns
            True; or it returns False, and nothing has changed.
        stops: whether the rule sums over the whole model. Then a step only begins, and its `rest` is to be run
            together with that of the other groups.
    """

    step: Callable[[dict[str, Any], list[torch.Tensor], Mapping[Any, Any]], bool]

    def __init__(
        self, graph: Graph, cells: Sequence[Cell], group: Mapping[str, Any], state: Mapping[Any, Any],
        keys: Mapping[str, str], settings: Settings, t: int,
    ):  # fmt: skip
        program = cpu.program(graph, cpu.memory_of(graph, cells[0]))
        self.program, self.stops, self.stopped = program, graph.model_wide, []
        first = next((i for i, each in enumerate(program.kernels) if "g" in each.columns), 0)
        kernel, function = program.kernels[first], program.functions[first]
        self.alive, self.struct = [], _Struct()
        params = moving(group)
        states = [state.get(p, {}) for p in params]
        places = [(owner, key) for key in keys.values() for owner in states]
        values = [owner[key] for owner, key in places]
        self._objects(
            params=group["params"], states=list(state.values()), owners=[owner for owner, _ in places],
            keys=[key for _, key in places], values=values, switch_names=settings.switches,
            switch_values=[group.get(key) for key in settings.switches], amount_names=settings.amounts,
        )  # fmt: skip
        self._array(_POINTER, places=[p.data_ptr() for p in params], slots=[x.data_ptr() for x in values])
        on = [(3 if group[key] is None else bool(group[key])) if key in group else 2 for key in settings.amounts]
        still = [p.grad is None for p in group["params"]]
        self._array(_INTEGER, still=still, dimensions=[p.ndim for p in params], amounts_on=on)
        self._arrays(shapes=[p.shape for p in params], strides=[p.stride() for p in params])
        kind, bits = _DLPACK[cells[0].g.dtype]
        self._set(kind=kind, bits=bits, torch=_exchange())
        self._set(listed=len(still), tensors=len(params), known=len(state), kept=len(places))
        self._set(switches=len(settings.switches), amounts=len(settings.amounts))

        shared = [[owner[keys[name]] for owner in states] for name in ("t", *program.own) if name in keys]
        self._array(_POINTER, numbers=[x.data_ptr() for numbers in shared for x in numbers])
        self._array(_INTEGER, wide=[numbers[0].dtype is torch.float64 for numbers in shared])
        where = [settings.numbers[name] for name in graph.signature.numbers]
        self._objects(hyper_names=[key for key, _, _ in where])
        self._array(_INTEGER, items=[-1 if item is None else item for _, item, _ in where])
        self._array(ctypes.c_double, defaults=[plain(default) for _, _, default in where])
        self.inputs = self._array(ctypes.c_double, inputs=[t, *[0] * len(host_inputs(graph))])
        room = len(program.wanted) + len(kernel.draws)
        self.scalars = self._array(ctypes.c_double, outputs=[0] * room)
        self._set(shared=len(shared), counts="t" in keys, hypers=len(where), scalars=len(program.scalars))
        self._set(host=_address(program.host), kernel=_address(function))

        self.ends = self._array(_INTEGER, ends=list(accumulate(p.numel() for p in params)))
        named = [{"p": cell.p, "g": cell.g, **cell.slots} for cell in cells]
        tables = [cpu.table_of(one, named) for one in program.kernels]
        self.table = tables[first]
        facts = [[cpu.facts(one, cell) for cell in cells] for one in program.kernels]
        self.numbers = self._array(ctypes.c_double, per_tensor=[number for each in facts[first] for number in each])
        self.total, width = self.ends[len(params) - 1], len(kernel.columns)
        column = kernel.columns.index("g") if "g" in kernel.columns else -1
        self._set(table=ctypes.addressof(self.table), total=self.total, width=width, column=column)
        keys_of = [functools.partial(cpu.step_keys, one, cells[0]) for one in program.kernels]
        if len(program.kernels) > 1 or kernel.sums:
            self._object(launch=functools.partial(self._pass_by_pass, first, tables, facts, keys_of))
        elif kernel.draws or self.total >= 2 * cpu.ELEMENTS_PER_THREAD:
            arguments = (function, self.total, len(params), self.ends, self.table, self.scalars, self.numbers)
            keys_of = keys_of[0] if kernel.draws else None
            self._object(launch=functools.partial(_launch, keys_of, self.inputs, len(kernel.scalars), arguments))
        self._object(grad="grad", tensor=torch.Tensor, is_neg=torch.Tensor.is_neg, plain=plain, written=_written)
        self._object(moved=params)
        self.step = _library().planned(ctypes.addressof(self.struct))

    def _pass_by_pass(self, first: int, tables: Sequence[Any], facts: Sequence[Any], keys_of: Sequence[Any]) -> None:
        """Several kernels: where the gradients lie has to be copied from the one table that plan.cpp fills in."""
        kernels = self.program.kernels
        if "g" in kernels[first].columns:
            for kernel, table in zip(kernels, tables, strict=True):
                if table is not self.table and "g" in kernel.columns:
                    cpu.column(kernel, table, "g")[:] = cpu.column(kernels[first], self.table, "g")
        known = dict(zip(self.program.wanted, self.scalars, strict=False))
        keys = [keys(int(self.inputs[0])) for keys in keys_of]
        run = self.program.passes(known, self.ends, tables, facts, keys)
        if self.stops:
            self.stopped.append(run)
        else:
            alone([run])

    def rest(self) -> list[Run]:
        """What is left of the step that just began."""
        self.stopped, stopped = [], self.stopped
        return stopped

    def _set(self, **fields: int) -> None:
        for name, value in fields.items():
            setattr(self.struct, name, value)

    def _array(self, kind: Any, **arrays: Sequence[Any]) -> Any:
        """Numbers into C arrays; they live as long as the plan."""
        array = None
        for name, values in arrays.items():
            array = (kind * max(1, len(values)))(*values)
            setattr(self.struct, name, ctypes.addressof(array))
            self.alive.append(array)
        return array

    def _arrays(self, **lists: Sequence[Sequence[int]]) -> None:
        """Lists of numbers into C arrays of arrays."""
        for name, rows in lists.items():
            inner = [(_INTEGER * max(1, len(row)))(*row) for row in rows]
            self.alive += inner
            self._array(_POINTER, **{name: [ctypes.addressof(row) for row in inner]})

    def _objects(self, **arrays: Sequence[Any]) -> None:
        """Objects into arrays of references; None becomes NULL."""
        for name, values in arrays.items():
            array = (ctypes.py_object * max(1, len(values)))()
            for i, value in enumerate(values):
                if value is not None:
                    array[i] = value
            setattr(self.struct, name, ctypes.addressof(array))
            self.alive.append(array)

    def _object(self, **fields: Any) -> None:
        for name, value in fields.items():
            setattr(self.struct, name, id(value))
            self.alive.append(value)

    @staticmethod
    def fits(graph: Graph, cells: Sequence[Cell], counts: Sequence[Any] = ()) -> bool:
        """Whether a plan can be made of these, and of the step counts that the tensors keep."""
        if not cells or _library() is None or not cpu.has_kernels(graph):
            return False
        if any(graph.inputs[name].stage == "number" for name in graph.slots):
            return False  # numbers that a cut feeds are written by the general way
        kinds = {(cell.t, cpu.memory_of(graph, cell)) for cell in cells}
        numbers = [[cell.slots[n] for cell in cells] for n in graph.host_slots]
        known = all(_alike(each) for each in (*numbers, counts))
        return len(kinds) == 1 and known and all(cpu.can_run(graph, cell) for cell in cells)


def _alike(numbers: Sequence[Any]) -> bool:
    """Whether plan.cpp can read and write these numbers, one for each tensor."""
    if not all(isinstance(x, torch.Tensor) and x.device.type == "cpu" and x.numel() == 1 for x in numbers):
        return False
    return not numbers or {x.dtype for x in numbers} in ({torch.float32}, {torch.float64})


def _launch(keys_of: Callable[[int], list[int]] | None, inputs: Any, place: int, arguments: Any) -> None:
    """A kernel that needs more: this step's random bits, or all of torch's threads, without the GIL."""
    if keys_of is not None:
        keys = keys_of(int(inputs[0]))
        arguments[5][place : place + len(keys)] = keys
    cpu.split(*arguments)


def _address(function: Any) -> int:
    return ctypes.cast(function, _POINTER).value or 0


# What torch.autograd.graph.increment_version calls, after a look at its argument that takes longer than the call.
_written = getattr(torch._C, "_increment_version", torch.autograd.graph.increment_version)


_DLPACK = {torch.float64: (2, 64), torch.float32: (2, 32), torch.float16: (2, 16), torch.bfloat16: (4, 16)}


@functools.cache
def _exchange() -> int:
    """The address of torch's functions for DLPack, major version 1; 0 before torch 2.10, which has none."""
    capsule = getattr(torch.Tensor, "__dlpack_c_exchange_api__", None)
    if capsule is None:
        return 0
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.argtypes, pointer.restype = [ctypes.py_object, ctypes.c_char_p], _POINTER
    address = pointer(capsule, b"dlpack_exchange_api") or 0
    return address if ctypes.c_uint32.from_address(address).value == 1 else 0


@functools.cache
def _library() -> Any:
    """plan.cpp, compiled for this Python; None where that does not work: then every step takes the general way."""
    if not _exchange():
        return None
    try:
        library = build.load(_SOURCE, ctypes.PyDLL)
    except (build.NoCompiler, OSError):
        return None
    library.planned.argtypes, library.planned.restype = [ctypes.py_object], ctypes.py_object
    return library
