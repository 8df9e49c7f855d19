"""The rule called once on lists of tensors: few calls for many small ones, and sums over the whole model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from thalweg import ops
from thalweg.engine.cell import Cell, arguments, stored
from thalweg.signature import Rule, signature_of

_LISTED: dict[str, Callable[..., Any]] = {
    "add": torch._foreach_add,
    "sub": torch._foreach_sub,
    "mul": torch._foreach_mul,
    "div": torch._foreach_div,
    "sqrt": torch._foreach_sqrt,
    "abs": torch._foreach_abs,
    "sign": torch._foreach_sign,
    "neg": torch._foreach_neg,
}


class TensorList:
    """Tensors that a rule treats as one value; each operation runs on all of them."""

    def __init__(self, tensors: Sequence[Any]):
        self.tensors = list(tensors)

    def __thalweg_op__(self, name: str, args: tuple[Any, ...]) -> Any:
        if name == "total":
            return sum(ops.total(x) for x in self.tensors)
        return self._apply(name, getattr(ops, name), args)

    def _apply(self, name: str, one: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        listed = _LISTED.get(name)
        if listed is not None and isinstance(args[0], TensorList):
            other = args[1] if len(args) > 1 else None
            if other is None:
                return TensorList(listed(self.tensors))
            if isinstance(other, TensorList) and _same_kind(args[0].tensors, other.tensors):
                return TensorList(listed(args[0].tensors, other.tensors))
            if isinstance(other, bool | int | float):
                return TensorList(listed(args[0].tensors, float(other)))
        each = [arg.tensors if isinstance(arg, TensorList) else [arg] * len(self.tensors) for arg in args]
        results = [one(*values) for values in zip(*each, strict=True)]
        if results and isinstance(results[0], tuple):  # eigh, qr
            return tuple(TensorList(column) for column in zip(*results, strict=True))
        return TensorList(results)


def _same_kind(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return all(x.shape == y.shape and x.dtype == y.dtype for x, y in zip(a, b, strict=True))


def _operator(name: str, one: Callable[[Any, Any], Any], reflected: bool = False):
    def method(self: TensorList, other: Any) -> TensorList:
        return self._apply(name, one, (other, self) if reflected else (self, other))

    return method


for _name, _method, _one in (
    ("add", "add", lambda a, b: a + b),
    ("sub", "sub", lambda a, b: a - b),
    ("mul", "mul", lambda a, b: a * b),
    ("div", "truediv", lambda a, b: a / b),
    ("pow", "pow", lambda a, b: a**b),
    ("lt", "lt", lambda a, b: a < b),
    ("le", "le", lambda a, b: a <= b),
    ("gt", "gt", lambda a, b: a > b),
    ("ge", "ge", lambda a, b: a >= b),
):
    setattr(TensorList, f"__{_method}__", _operator(_name, _one))
    if _method in ("add", "sub", "mul", "truediv", "pow"):
        setattr(TensorList, f"__r{_method}__", _operator(_name, _one, reflected=True))
TensorList.__neg__ = lambda self: self._apply("neg", lambda a: -a, (self,))  # pyright: ignore


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
