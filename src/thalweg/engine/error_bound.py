"""How far rounding may carry a walk: running error analysis (Higham 2002, section 3.3) of any rule.

A `Bounded` value is a float64 value, and a bound on how far the value that a narrower type computes can lie from it.
Every operation passes the errors of its arguments on, as far as they can go, and adds what its own rounding may take.
A rule called with such values instead of tensors gives, in one run, the float64 walk and the bound that the precision
explains: one mechanism for every rule, flag, type and store.

What is assumed of an engine: it rounds each of the rule's operations once, or not at all; dividing by one number for
all elements may round twice more (some multiply by its reciprocal); exp, log, tanh and powers are off by at most two
units in the last place; sums are taken in any order. A walk that leaves its bound does something else than the rule.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from thalweg.engine.cell import AS_TORCH, starts
from thalweg.engine.store import COMPENSATION, STOCHASTIC, Store
from thalweg.signature import Rule, signature_of

_SPREAD: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {  # monotone: the ends of an interval bound it
    "sqrt": lambda x: x.clamp(min=0).sqrt(),  # below 0 it is NaN, and within no bound
    "exp": torch.exp,
    "log": torch.log,
    "tanh": torch.tanh,
}
_COMPARISONS = ("lt", "le", "gt", "ge", "equal")


class Bounded:
    """A float64 value, and how far the one that is computed in `dtype` can be from it."""

    def __init__(self, value: torch.Tensor, error: torch.Tensor, dtype: torch.dtype):
        self.value, self.error, self.dtype = value, error, dtype

    def __thalweg_op__(self, name: str, args: tuple[Any, ...]) -> Any:
        return _apply(name, args, self.dtype)

    @property
    def reach(self) -> torch.Tensor:
        """The largest size that the computed value can have."""
        return self.value.abs() + self.error

    def rounded(self, dtype: torch.dtype, times: float = 1.0) -> Bounded:
        """The value after a rounding to the nearest of `dtype`, or to within `times` that far."""
        facts = torch.finfo(dtype)
        reach = self.reach
        near = times * (facts.eps / 2 * reach + facts.smallest_normal * facts.eps / 2)
        error = self.error + torch.where(reach > 0, near, 0.0)
        return Bounded(self.value, torch.where(reach > facts.max, torch.inf, error), self.dtype)


class Condition:
    """The answers of a comparison, and where the narrower type may answer otherwise."""

    def __init__(self, answer: torch.Tensor, certain: torch.Tensor, dtype: torch.dtype):
        self.answer, self.certain, self.dtype = answer, certain, dtype

    def __thalweg_op__(self, name: str, args: tuple[Any, ...]) -> Any:
        return _apply(name, args, self.dtype)


def _operation(name: str, reflected: bool = False) -> Callable[[Bounded, Any], Any]:
    def method(self: Bounded, other: Any) -> Any:
        return _apply(name, (other, self) if reflected else (self, other), self.dtype)

    return method


for _name in ("add", "sub", "mul", "truediv", "pow"):
    setattr(Bounded, f"__{_name}__", _operation(_name))
    setattr(Bounded, f"__r{_name}__", _operation(_name, reflected=True))
for _name in ("lt", "le", "gt", "ge"):
    setattr(Bounded, f"__{_name}__", _operation(_name))
Bounded.__neg__ = lambda self: Bounded(-self.value, self.error, self.dtype)  # type: ignore[attr-defined]


def _lifted(x: Any, dtype: torch.dtype) -> Bounded:
    """A number of the host meets the tensors: it is rounded to their type."""
    if isinstance(x, Bounded):
        return x
    value = torch.tensor(float(x), dtype=torch.float64)
    return Bounded(value, (value.to(dtype).double() - value).abs(), dtype)


def _apply(name: str, args: tuple[Any, ...], dtype: torch.dtype) -> Any:
    if name == "where":
        return _where(args[0], *(_lifted(x, dtype) for x in args[1:]))
    x, *more = (_lifted(arg, dtype) for arg in args)
    by_number = name == "truediv" and not more[0].value.ndim
    if name in _SPREAD:
        return _monotone(_SPREAD[name], x, 1.0 if name == "sqrt" else 4.0)
    if name == "pow":
        square = float(more[0].value) == 2
        return _apply("mul", (x, x), dtype) if square else _monotone(lambda base: base ** more[0].value, x, 4.0)
    if name in ("minimum", "maximum"):
        error = torch.maximum(x.error, more[0].error)
        return Bounded(getattr(torch, name)(x.value, more[0].value), error, dtype)
    if name in _COMPARISONS:
        return _compare(name, x, more[0])
    known = {"add": _sum, "sub": _sum, "mul": _product, "truediv": _quotient}
    if name in known:
        return known[name](getattr(operator, name)(x.value, more[0].value), x, more[0]).rounded(
            dtype, 3.0 if by_number else 1.0
        )
    if name == "abs":
        return Bounded(x.value.abs(), x.error, dtype)
    if name == "sign":
        return Bounded(x.value.sign(), torch.where((x.value.abs() > x.error) | (x.error == 0), 0.0, 2.0), dtype)
    if name in ("norm", "total"):
        return _reduce(name, x)
    raise NotImplementedError(f"no bound is known for the rounding of {name}.")


def _sum(value: torch.Tensor, x: Bounded, y: Bounded) -> Bounded:
    return Bounded(value, x.error + y.error, x.dtype)


def _product(value: torch.Tensor, x: Bounded, y: Bounded) -> Bounded:
    error = x.value.abs() * y.error + y.value.abs() * x.error + x.error * y.error
    return Bounded(value, error.nan_to_num(nan=torch.inf), x.dtype)


def _quotient(value: torch.Tensor, x: Bounded, y: Bounded) -> Bounded:
    room = y.value.abs() - y.error  # the smallest denominator
    error = torch.where(room > 0, (x.error + value.abs() * y.error) / room, torch.inf)
    return Bounded(value, error, x.dtype)


def _monotone(function: Callable[[torch.Tensor], torch.Tensor], x: Bounded, times: float) -> Bounded:
    value = function(x.value)
    ends = [(function(x.value + side * x.error) - value).abs() for side in (-1, 1)]
    return Bounded(value, torch.maximum(*ends).nan_to_num(nan=torch.inf), x.dtype).rounded(x.dtype, times)


def _compare(name: str, x: Bounded, y: Bounded) -> Condition:
    answer = (operator.eq if name == "equal" else getattr(operator, name))(x.value, y.value)
    error = x.error + y.error
    return Condition(answer, ((x.value - y.value).abs() > error) | (error == 0), x.dtype)


def _where(condition: Any, a: Bounded, b: Bounded) -> Bounded:
    if not isinstance(condition, Condition):
        return a if condition else b
    value = torch.where(condition.answer, a.value, b.value)
    error = torch.where(condition.answer, a.error, b.error)
    either = torch.maximum((a.value - value).abs() + a.error, (b.value - value).abs() + b.error)
    return Bounded(value, torch.where(condition.certain, error, either), a.dtype)


def _reduce(name: str, x: Bounded) -> Bounded:
    """A sum of n terms in any order is off by at most n roundings of the sum of their sizes (Higham, 4.2)."""
    unit = torch.finfo(x.dtype).eps / 2
    if name == "total":
        return Bounded(x.value.sum(), x.error.sum() + x.value.numel() * unit * x.reach.sum(), x.dtype)
    length = x.value.square().sum().sqrt()
    off = x.error.square().sum().sqrt()
    return Bounded(length, off + (x.value.numel() / 2 + 2) * unit * (length + off), x.dtype)


def _kept(new: Bounded, name: str, kept: Mapping[str, torch.Tensor], store: Store) -> Bounded:
    """A new value after it went through the store, as the next step reads it."""
    dtype = kept[name].dtype
    if torch.finfo(dtype).bits >= torch.finfo(new.dtype).bits:
        return new
    if name != "p" or COMPENSATION not in kept:
        return new.rounded(dtype, 2.0 if store.memory(name, kept) == STOCHASTIC else 1.0)
    left = new.rounded(dtype).error - new.error  # at most this is left for the compensation, which is rounded itself
    times = 2.0 if store.memory(COMPENSATION, kept) == STOCHASTIC else 1.0
    lost = Bounded(torch.zeros_like(left), left, new.dtype).rounded(dtype, times).error - left
    return Bounded(new.value, (new.error + lost).nan_to_num(nan=torch.inf), new.dtype)


def bounded_walk(
    rule: Rule, hyper: dict[str, Any], p: torch.Tensor, gradients: Sequence[torch.Tensor], store: Store = AS_TORCH
) -> Iterator[dict[str, Bounded | float]]:
    """The walk of a rule in float64, with the bound on what an engine may compute in the parameter's dtype.

    Args:
        rule, hyper: the formula and its settings.
        p, gradients: in the dtype that the walk is bounded for; they are taken as exact.
        store: how values are kept between the steps.

    Yields:
        After each step ``p`` and the kept slots by name; one-number slots of the host are plain numbers. A
        compensated ``p`` stands for the sum of its two tensors. For float64 the float64 walk itself is no nearer to
        the truth than the bound: an engine may be twice that far from it.
    """
    signature = signature_of(rule)
    wide = torch.float64 if p.dtype is torch.float64 else torch.float32
    tensors = {"p": p, **starts(rule, hyper, p, store)}

    def exact(x: torch.Tensor) -> Bounded:
        return Bounded(x.double(), torch.zeros_like(x, dtype=torch.float64), wide)

    values: dict[str, Any] = {"p": exact(p)}
    for name, slot in signature.kept(hyper).items():
        values[name] = float(tensors[name]) if slot.shape == "number" else exact(tensors[name])
    for t, g in enumerate(gradients, 1):
        now = values["p"]
        if COMPENSATION in tensors:  # its two tensors are added to be read
            now = now.rounded(wide)
        result = rule(now, exact(g), *(values.get(name) for name in signature.slots), t=t, **hyper)
        new = result if isinstance(result, tuple) else (result,)
        for name, value in zip(("p", *signature.slots), new, strict=True):
            if name in values:
                one_number = name != "p" and signature.slots[name].shape == "number"
                values[name] = value if one_number else _kept(value, name, tensors, store)
        yield dict(values)


def furthest(walked: Mapping[str, torch.Tensor], wanted: Mapping[str, Bounded | float]) -> tuple[float, float]:
    """How far a cell's kept values are from the float64 walk: p relative to its largest element, and all to the bound.

    A second number above 1 says that precision does not explain the difference. Where the bound is infinite the
    formula divides by what may as well be 0: no number is wrong there, and none is looked at.
    """
    relative = ratio = 0.0
    for name, want in wanted.items():
        got = walked[name].cpu().double()
        if name == "p" and COMPENSATION in walked:
            got = got + walked[COMPENSATION].cpu().double()
        if not isinstance(want, Bounded):
            continue
        bound = want.error * (2 if want.dtype is torch.float64 else 1)
        told = bound.isfinite()
        if not told.any():
            continue
        off = (got - want.value).abs()[told].nan_to_num(nan=torch.inf)
        within = torch.where(off == 0, 0.0, off / bound[told])
        if name == "p":
            relative = float(off.max() / want.value[told].abs().max().clamp(min=1e-300))
        ratio = max(ratio, float(within.max()))
    return relative, ratio
