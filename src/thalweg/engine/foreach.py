"""The rule called once on lists of tensors: the way for rules that sum over the whole model."""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from thalweg import ops
from thalweg.engine.cell import Cell, arguments, stored
from thalweg.signature import Rule, signature_of


class TensorList:
    """Tensors that a rule treats as one value; each operation runs on all of them."""

    def __init__(self, tensors: Sequence[Any]):
        self.tensors = list(tensors)

    def __thalweg_op__(self, name: str, args: tuple[Any, ...]) -> Any:
        if name == "total":
            return sum(ops.total(x) for x in self.tensors)
        return _each(getattr(ops, name), args)


def _each(one: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """The operation on the first of every list, the second of every list, and so on."""
    length = next(len(arg.tensors) for arg in args if isinstance(arg, TensorList))
    columns = [arg.tensors if isinstance(arg, TensorList) else [arg] * length for arg in args]
    results = [one(*values) for values in zip(*columns, strict=True)]
    if isinstance(results[0], tuple):  # eigh, qr
        return tuple(TensorList(column) for column in zip(*results, strict=True))
    return TensorList(results)


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
    """As `eager.step`, in one call of the rule for all cells of equal t.

    A rule that sums over the whole model (`total`) sums over all cells of the call.
    """
    signature = signature_of(rule)
    results: list[Any] = [None] * len(cells)
    same_t: dict[int, list[int]] = defaultdict(list)
    for index, cell in enumerate(cells):
        same_t[cell.t].append(index)
    for t, indices in same_t.items():
        columns = zip(*(arguments(signature, cells[i]) for i in indices), strict=True)
        lists = [None if column[0] is None else TensorList(column) for column in columns]
        result = rule(*lists, t=t, **hyper)
        new = [result] if isinstance(result, TensorList) else list(result)
        for place, index in enumerate(indices):
            picked = tuple(None if value is None else value.tensors[place] for value in new)
            results[index] = stored(signature, cells[index], picked)
    return results
