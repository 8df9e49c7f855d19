"""The rule called once on lists of tensors: the way for rules that sum over the whole model."""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from thalweg import ops
from thalweg.engine.cell import Cell, arguments, stored
from thalweg.engine.model_wide import Run, alone, gathered
from thalweg.signature import Rule, signature_of


class TensorList:
    """Tensors that a rule treats as one value; each operation runs on all of them.

    `wholes` answers the rule's `total`; without it, these tensors are the whole model.
    """

    def __init__(self, tensors: Sequence[Any], wholes: Wholes | None = None):
        self.tensors = list(tensors)
        self.wholes = wholes

    def __thalweg_op__(self, name: str, args: tuple[Any, ...]) -> Any:
        if name == "total":
            share = sum(ops.total(x) for x in self.tensors)
            return share if self.wholes is None else self.wholes.of(share)
        return _each(getattr(ops, name), args)


class Wholes:
    """The sums over the whole model that are known so far, in the order in which the rule asks for them."""

    def __init__(self, known: Sequence[Any]):
        self.known, self.asked = known, 0

    def of(self, share: Any) -> Any:
        """The whole of the sum that this is a share of."""
        if self.asked == len(self.known):
            raise _Unknown(share)
        self.asked += 1
        return self.known[self.asked - 1]


class _Unknown(Exception):
    """The rule needs a sum over the whole model, of which this is our share."""

    def __init__(self, share: Any):
        self.share = share


def _each(one: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """The operation on the first of every list, the second of every list, and so on."""
    first = next(arg for arg in args if isinstance(arg, TensorList))
    columns = [arg.tensors if isinstance(arg, TensorList) else [arg] * len(first.tensors) for arg in args]
    results = [one(*values) for values in zip(*columns, strict=True)]
    if isinstance(results[0], tuple):  # eigh, qr
        return tuple(TensorList(column, first.wholes) for column in zip(*results, strict=True))
    return TensorList(results, first.wholes)


def _operator(one: Callable[..., Any], reflected: bool = False):
    def method(self: TensorList, *other: Any) -> TensorList:
        return _each(one, (*other, self) if reflected else (self, *other))

    return method


for _name in ("add", "sub", "mul", "truediv", "pow", "lt", "le", "gt", "ge", "neg"):
    setattr(TensorList, f"__{_name}__", _operator(getattr(operator, _name)))
    if _name in ("add", "sub", "mul", "truediv", "pow"):
        setattr(TensorList, f"__r{_name}__", _operator(getattr(operator, _name), reflected=True))


def step(
    rule: Rule, cells: Sequence[Cell], hyper: Mapping[str, Any]
) -> list[tuple[torch.Tensor, dict[str, torch.Tensor]]]:
    """As `eager.step`, in one call of the rule for all cells of one device and equal t.

    A rule that sums over the whole model (`total`) sums over all cells.
    """
    return alone([run(rule, cells, hyper)])[0]


def run(rule: Rule, cells: Sequence[Cell], hyper: Mapping[str, Any]) -> Run:
    """The same for cells that are only a part of the model: see `model_wide`."""
    calls: dict[Any, list[int]] = defaultdict(list)
    for index, cell in enumerate(cells):
        calls[cell.p.device, cell.t].append(index)
    results = yield from gathered([_call(rule, [cells[i] for i in indices], hyper) for indices in calls.values()])
    found = {i: each for indices, result in zip(calls.values(), results, strict=True)
             for i, each in zip(indices, result, strict=True)}  # fmt: skip
    return [found[i] for i in range(len(cells))]


def _call(rule: Rule, cells: Sequence[Cell], hyper: Mapping[str, Any]) -> Run:
    """Call the rule until it has all the sums that it asks for: it changes nothing, so it may be called again."""
    signature = signature_of(rule)
    columns = list(zip(*(arguments(signature, cell) for cell in cells), strict=True))
    known: list[Any] = []
    while True:
        wholes = Wholes(known)
        lists = [None if column[0] is None else TensorList(column, wholes) for column in columns]
        try:
            result = rule(*lists, t=cells[0].t, **hyper)
        except _Unknown as asked:
            whole = yield asked.share
            known.append(whole.to(asked.share.device) if isinstance(whole, torch.Tensor) else whole)
            continue
        new = result if isinstance(result, tuple) else (result,)
        return [
            stored(signature, cell, tuple(None if value is None else value.tensors[k] for value in new))
            for k, cell in enumerate(cells)
        ]
