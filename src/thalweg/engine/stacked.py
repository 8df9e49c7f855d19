"""K settings at once, in place: stacked parameters through the fused kernels, one call for all members.

A stacked parameter of shape (K, ...) is K rows of the kernel's table of pointers. What is one number per step for a
single run is here one number per member: the kernel reads all of them from the numbers that each row has.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import torch

from thalweg.engine import batched, cpu
from thalweg.engine.cell import Cell
from thalweg.engine.choice import kernels_can_be_built
from thalweg.engine.graph import Node
from thalweg.engine.trace import trace
from thalweg.signature import Rule, signature_of

Setting = float | np.ndarray  # of all members, or one each


class Stack:
    """Parameters and slots of K members, for many steps.

    Args:
        rule: the formula.
        params: each of shape (K, ...); updated in place.
        slots: beside each parameter, by name: (K, ...), or (K,) for a slot of one number; updated in place.
        flags: the rule's static arguments, and numbers on which it depends whether a slot is kept.

    Attributes:
        fused: whether the compiled kernels do it, else `batched.step`.

    Example: two learning rates at once.
        >>> from thalweg.rules.sgd import sgd
        >>> p = torch.ones(2, 3)
        >>> Stack(sgd, [p], [{}]).step([torch.ones(2, 3)], {"lr": np.array([0.1, 0.2])})
        >>> p[:, 0]
        tensor([0.9000, 0.8000])
    """

    def __init__(
        self, rule: Rule, params: Sequence[torch.Tensor], slots: Sequence[dict[str, torch.Tensor]], **flags: Any
    ):
        self.rule, self.flags, self.params, self.slots = rule, flags, list(params), list(slots)
        self.graph = graph = trace(rule, **flags)
        self.members = len(params[0])
        cells = [Cell(p, p, own) for p, own in zip(params, slots, strict=True)]
        memory = {cpu.memory_of(graph, cell) for cell in cells}
        self.fused = (
            len(memory) == 1
            and not graph.by_rows
            and all(cpu.can_run(graph, cell) for cell in cells)
            and kernels_can_be_built("auto")
        )
        if not self.fused:
            return
        program = cpu.program(graph, memory.pop(), members=True)
        count, many = len(params), self.members
        sizes = [p.numel() // many for p in params for _ in range(many)]
        ends = list(accumulate(sizes))
        self.rows, self.total = len(ends), ends[-1]
        self.ends = (ctypes.c_int64 * self.rows)(*ends)
        self.spare: dict[str, list[torch.Tensor]] = {}
        self.passes = []
        for function, kernel in zip(program.functions, program.kernels, strict=True):
            table = np.zeros((count, many, len(kernel.columns)), dtype=np.uint64)
            for column, place in enumerate(kernel.columns):
                if place != "g":
                    self._point(table[:, :, column], self._lying(place))
            self.passes.append((function, kernel, table, np.zeros((count, many, max(1, len(kernel.numbers))))))
        self.one_number = [name for name in graph.slots if graph.inputs[name].stage != "element"]

    def _lying(self, place: str) -> list[torch.Tensor]:
        if place == "p":
            return self.params
        if place in self.slots[0]:
            return [own[place] for own in self.slots]
        if place not in self.spare:  # a temporary between two kernels
            wide = torch.float64 if self.params[0].dtype is torch.float64 else torch.float32
            self.spare[place] = [torch.empty(p.shape, dtype=wide) for p in self.params]
        return self.spare[place]

    def _point(self, column: np.ndarray, tensors: Sequence[torch.Tensor]) -> None:
        """The addresses of every member's part of every tensor."""
        steps = [x.numel() // self.members * x.element_size() for x in tensors]
        column[:] = np.array([x.data_ptr() for x in tensors], dtype=np.uint64)[:, None]
        column += np.array(steps, dtype=np.uint64)[:, None] * np.arange(self.members, dtype=np.uint64)

    def step(self, gradients: Sequence[torch.Tensor], hyper: Mapping[str, Setting], t: Setting = 1) -> None:
        """Update all members.

        Args:
            gradients: one for each parameter, of its shape.
            hyper: numbers of all members or K each, by the rule's own names; absent ones are at their default.
            t: the step number, from 1; or K of them.
        """
        kinds = [(g.dtype, g.layout, g.device.type) for g in gradients]
        if not self.fused or kinds != [(p.dtype, torch.strided, "cpu") for p in self.params]:
            return self._step_batched(gradients, hyper, t)
        graph = self.graph
        given = {"t": t, **signature_of(self.rule).numbers, **hyper}
        known: dict[Node, Any] = {}
        for name, node in graph.inputs.items():
            if name in given:
                known[node] = given[name] if isinstance(given[name], np.ndarray) else np.float64(given[name])
            elif name in self.one_number:
                found = np.stack([own[name].numpy() for own in self.slots])
                known[node] = found[0] if node.stage == "host" else found  # on the host: the same for all tensors
        kept = [g.contiguous() for g in gradients]
        with np.errstate(all="ignore"):
            for function, kernel, table, numbers in self.passes:
                for i, node in enumerate(kernel.numbers):
                    numbers[:, :, i] = cpu.value(node, known)
                if "g" in kernel.columns:
                    self._point(table[:, :, kernel.columns.index("g")], kept)
                width = self.rows * len(kernel.sums)
                arrays = table.ctypes.data, numbers.ctypes.data, numbers.ctypes.data
                sums = cpu.split(function, self.total, self.rows, self.ends, *arrays, width)
                if not kernel.sums:
                    continue
                each = np.sum([np.frombuffer(part)[:width] for part in sums], axis=0).reshape(*numbers.shape[:2], -1)
                for j, cut in enumerate(kernel.sums):
                    known[cut] = np.sqrt(each[:, :, j]) if cut.op == "norm" else each[:, :, j].sum(0)
            for name in self.one_number:
                new = np.broadcast_to(cpu.value(graph.outputs[name], known), (len(self.params), self.members))
                for own, row in zip(self.slots, new, strict=True):
                    own[name].numpy()[:] = row

    def _step_batched(self, gradients: Sequence[torch.Tensor], hyper: Mapping[str, Setting], t: Setting) -> None:
        settings = {n: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for n, v in {**hyper, "t": t}.items()}
        slots = {name: [own[name] for own in self.slots] for name in self.slots[0]}
        new, after = batched.step(self.rule, self.params, list(gradients), slots, **{**self.flags, **settings})
        for old, p in zip(self.params, new, strict=True):
            old.copy_(p)
        for name, column in after.items():
            for own, value in zip(self.slots, column, strict=True):
                own[name].copy_(value)


def step(
    rule: Rule, p: batched.Tensors, g: batched.Tensors, slots: Mapping[str, batched.Tensors], *, t: Any = 1,
    **hyper: Any,
) -> tuple[batched.Tensors, dict[str, Any]]:  # fmt: skip
    """As `batched.step`: the inputs are left as they are, copies are updated."""
    listed, signature = isinstance(p, list), signature_of(rule)
    params, gradients = ([x.clone() for x in (y if isinstance(y, list) else [y])] for y in (p, g))
    columns = {name: value if isinstance(value, list) else [value] for name, value in slots.items()}
    own = [{name: column[i].clone() for name, column in columns.items()} for i in range(len(params))]
    numbers = {name: np.asarray(value, dtype=float) for name, value in hyper.items() if name in signature.numbers}
    flags = {name: value for name, value in hyper.items() if name not in numbers}
    kept = {slot.when: True for name, slot in signature.slots.items() if name in slots and slot.when in numbers}
    stack = Stack(rule, params, own, **flags, **kept)
    stack.step(gradients, numbers, np.asarray(t, dtype=float))
    after = {name: [row[name] for row in own] for name in columns}
    return (params, after) if listed else (params[0], {name: column[0] for name, column in after.items()})
