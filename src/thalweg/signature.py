"""What a rule declares by its signature.

``def adam(p, g, m, v, v_max=Slot(when="amsgrad"), *, t, lr=1e-3, beta1=0.9, ..., amsgrad=False)`` says it
all: after parameter and gradient come the slots, the tensors that a rule keeps between steps; after the
star the step number and the hyper-parameters. A `bool` or a `Literal` is static: it may steer a Python
``if``. Every other hyper-parameter is a number, and may be a tensor.

    >>> from thalweg.rules.adam import adam
    >>> list(signature_of(adam).slots), signature_of(adam).numbers["beta2"]
    (['m', 'v', 'v_max'], 0.999)
"""

from __future__ import annotations

import difflib
import functools
import inspect
import itertools
import math
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

Rule = Callable[..., Any]


@dataclass(frozen=True)
class SlotSpec:
    """What `Slot` says, as data."""

    start: float | str = 0.0
    shape: Literal["p", "number"] = "p"
    when: str | None = None


def Slot(start: float | str = 0.0, shape: Literal["p", "number"] = "p", when: str | None = None) -> Any:
    """Declare a tensor that a rule keeps between steps, as the default of its argument.

    Args:
        start: its value before the first step: a number, the name of a hyper-parameter, or ``"p"`` for a
            copy of the parameter. Default 0.
        shape: ``"p"``, that of the parameter (default), or ``"number"``: one float64 number per parameter.
        when: the hyper-parameter without which (False or 0) the slot is not kept; the rule then gets and
            returns None. Default: always kept.
    """
    return SlotSpec(start, shape, when)  # typed Any: in the rule's body the argument is a tensor


@dataclass(frozen=True)
class Signature:
    """The parts of a rule's signature, in its own order."""

    name: str
    slots: dict[str, SlotSpec]
    numbers: dict[str, float]
    flags: dict[str, tuple[Any, ...]]  # every allowed value, the default first
    before: tuple[str, ...] = ()  # the transforms that act in front of it, in their order

    @property
    def defaults(self) -> dict[str, Any]:
        """Every hyper-parameter with its default: numbers, then flags."""
        return {**self.numbers, **{name: values[0] for name, values in self.flags.items()}}

    def kept(self, hyper: Mapping[str, Any]) -> dict[str, SlotSpec]:
        """The slots that are kept under these hyper-parameters (absent ones at their default)."""
        given = {**self.defaults, **hyper}
        return {name: slot for name, slot in self.slots.items() if slot.when is None or is_on(given[slot.when])}

    def flag_settings(self) -> list[dict[str, Any]]:
        """Every combination of the flags' values."""
        return [dict(zip(self.flags, values, strict=True)) for values in itertools.product(*self.flags.values())]


def is_on(value: Any) -> bool:
    """Whether a hyper-parameter, a number or K of them, is anything but False or 0."""
    return bool((value != 0).any()) if hasattr(value, "any") else bool(value)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`` Did you mean 'x'?``, or nothing where no known name is near."""
    near = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.6)
    return f" Did you mean {near[0]!r}?" if near else ""


def signature_of(rule: Rule) -> Signature:
    """Read a rule's signature.

    Raises:
        TypeError: the function does not have the shape of a rule; the sentence says what is missing.
    """
    if not callable(rule):
        raise TypeError(f"a rule is a function (p, g, slots ..., *, t, lr, ...), not {rule!r}.")
    return _read(rule)


@functools.cache
def _read(rule: Rule) -> Signature:
    name = getattr(rule, "__name__", repr(rule))
    parameters = list(inspect.signature(rule).parameters.values())
    positional = [q for q in parameters if q.kind is q.POSITIONAL_OR_KEYWORD]
    keyword = [q for q in parameters if q.kind is q.KEYWORD_ONLY]
    if [q.name for q in positional[:2]] != ["p", "g"] or len(positional) + len(keyword) != len(parameters):
        raise TypeError(f"rule {name}: its signature must begin with (p, g, and name every other argument.")
    if not keyword or keyword[0].name != "t":
        raise TypeError(f"rule {name}: after its slots it needs '*, t': the step number, counted from 1.")
    slots = {q.name: _slot(name, q) for q in positional[2:]}
    numbers: dict[str, float] = {}
    flags: dict[str, tuple[Any, ...]] = {}
    hints = _hints(rule)
    for q in keyword[1:]:
        if q.default is q.empty:
            raise TypeError(f"rule {name}: hyper-parameter {q.name} needs a default.")
        if isinstance(q.default, bool):
            flags[q.name] = (q.default, not q.default)
        elif get_origin(hints.get(q.name)) is Literal:
            flags[q.name] = (q.default, *(v for v in get_args(hints[q.name]) if v != q.default))
        elif isinstance(q.default, int | float):
            numbers[q.name] = q.default
        else:
            raise TypeError(
                f"rule {name}: the default of {q.name} is {q.default!r}; a hyper-parameter is a number, a bool "
                "or a string annotated with Literal[...]."
            )
    for slot_name, slot in slots.items():
        if slot.shape == "number" and slot.start == "p":
            raise TypeError(f"rule {name}: slot {slot_name} is one number; it cannot start as a copy of p.")
        for reference in (slot.when, slot.start if isinstance(slot.start, str) and slot.start != "p" else None):
            if reference is not None and reference not in {**numbers, **flags}:
                raise TypeError(f"rule {name}: slot {slot_name} refers to {reference}, which is no argument.")
    return Signature(name, slots, numbers, flags, getattr(rule, "before", ()))


def _hints(rule: Rule) -> dict[str, Any]:
    try:
        return typing.get_type_hints(rule)
    except NameError:
        return {}


def _slot(rule: str, parameter: inspect.Parameter) -> SlotSpec:
    if parameter.default is parameter.empty:
        return SlotSpec()
    if isinstance(parameter.default, SlotSpec):
        return parameter.default
    raise TypeError(f"rule {rule}: the default of slot {parameter.name} must be a Slot(...).")


# ---- what a value may be: one vocabulary for every rule, torch's words

_AT_LEAST_0 = ("lr", "eps", "eps_root", "weight_decay", "momentum", "lr_decay", "initial_accumulator_value")
_AT_LEAST_0 += ("momentum_decay", "alpha", "clip_value", "clip_tensor_norm", "clip_norm")
LIMITS: dict[str, tuple[float, float, bool]] = {  # lowest, highest, highest included
    **dict.fromkeys(_AT_LEAST_0, (0.0, math.inf, True)),
    **dict.fromkeys(("beta1", "beta2", "beta"), (0.0, 1.0, False)),
    "rho": (0.0, 1.0, True),
}


def check_number(name: str, value: Any, shown_as: str | None = None) -> None:
    """Refuse a value that the name does not allow, in one sentence that names both."""
    shown = shown_as or name
    if isinstance(value, bool | str) or value is None:
        raise TypeError(f"{shown} is {value!r}; it must be a number.")
    if hasattr(value, "numel") and value.numel() != 1:
        raise ValueError(f"{shown} is a tensor of shape {tuple(value.shape)}; it must hold one number.")
    try:
        number = float(value.detach() if hasattr(value, "detach") else value)
    except (TypeError, ValueError):
        raise TypeError(f"{shown} is {value!r}; it must be a number.") from None
    low, high, closed = LIMITS.get(name, (-math.inf, math.inf, True))
    if math.isnan(number) or number < low or number > high or (number == high and not closed):
        allowed = f"at least {low:g}" if high == math.inf else f"in [{low:g}, {high:g}{']' if closed else ')'}"
        allowed = "a number" if low == -math.inf else allowed
        raise ValueError(f"{shown} is {number:g}; it must be {allowed}.")


def check_flag(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    """Refuse a value of a static argument that is not one of those allowed."""
    if not any(type(value) is type(choice) and value == choice for choice in allowed):
        names = ", ".join(repr(choice) for choice in allowed)
        near = did_you_mean(value, [c for c in allowed if isinstance(c, str)]) if isinstance(value, str) else ""
        raise ValueError(f"{name} is {value!r}; it must be one of {names}.{near}")
