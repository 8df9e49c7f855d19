"""The settings under which our classes walk beside torch's, and the walk.

An argument of a torch class needs an entry in `PROBES`; `cases` raises for one that has none, so that a
torch with a new argument fails our tests instead of passing untested.
"""

from __future__ import annotations

import copy
import inspect
import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

import thalweg as tw

STEPS = 300
LATE = 50  # the last parameter has no gradient before this step

# Our class: its namesake in torch.optim, and the settings that make that one ours.
PAIRS: dict[str, tuple[str, dict[str, Any]]] = {
    "SGD": ("SGD", {}),
    "Momentum": ("SGD", {"momentum": 0.9}),
    "Nesterov": ("SGD", {"momentum": 0.9, "nesterov": True}),
    "Adagrad": ("Adagrad", {}),
    "Adadelta": ("Adadelta", {}),
    "RMSprop": ("RMSprop", {}),
    "Adam": ("Adam", {}),
    "NAdam": ("NAdam", {}),
    "AdamW": ("AdamW", {}),
}
# What the class of our own is about, and so does not take as an argument.
GIVEN = {"Momentum": {"nesterov"}, "Nesterov": {"nesterov", "dampening"}}


def number(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


# The values that each argument is tried at; a function makes a new tensor for every optimizer.
PROBES: dict[str, tuple[Any, ...]] = {
    "lr": (0.0, 0.003, 0.2, lambda: number(0.03)),
    # No beta2 of 0: a step is then m / |g|, and where a gradient comes near 0 the walk itself (torch's, too)
    # magnifies a difference in the last digit a thousand times.
    "betas": ((0.8, 0.9), (0.0, 0.99), (0.95, 0.5), (0.95, 0.9999), lambda: (number(0.8), number(0.95))),
    "eps": (0.0, 1e-12, 1e-3, 0.5),
    "rho": (0.0, 0.5, 0.99, 1.0),
    "alpha": (0.0, 0.5, 0.9, 0.999),
    "lr_decay": (0.01, 1.0),
    "initial_accumulator_value": (0.1, 2.0),
    "weight_decay": (0.0, 1e-3, 0.3),
    "momentum": (0.0, 0.5, 0.95),
    "momentum_decay": (0.0, 0.1, 1.0),
    "dampening": (0.1, 0.9, 1.0),
    "nesterov": (True,),
    "amsgrad": (True,),
    "centered": (True,),
    "decoupled_weight_decay": (True,),
    "maximize": (True,),
    "differentiable": (True,),
    "foreach": (False, True),
    "fused": (False, True),
    "capturable": (False,),  # True is for accelerators: torch refuses it on a CPU, we refuse it anywhere
}
HINTS = {"foreach", "fused", "capturable", "differentiable"}  # they change how, never what
# What an argument needs beside it to have an effect (or to be allowed).
COMPANIONS: dict[str, dict[str, Any]] = {
    "dampening": {"momentum": 0.9},
    "nesterov": {"momentum": 0.9},
    "decoupled_weight_decay": {"weight_decay": 0.1},
    "centered": {"momentum": 0.5},
    "amsgrad": {"betas": (0.9, 0.9)},  # with 0.999 the second moment still grows at step 300: no maximum to keep
}


@dataclass(frozen=True)
class Case:
    """One setting: our class and torch's walk with it from the same start under the same slopes.

    `settings` go to both classes, `theirs` to torch's alone; `groups`: settings of each parameter's group.
    """

    ours: str
    label: str
    settings: dict[str, Any] = field(default_factory=dict)
    groups: tuple[dict[str, Any], ...] = ()
    complex: bool = False
    touches: str | None = None  # the argument that is probed, if one alone
    schedule: Callable[[torch.optim.Optimizer], Callable[[int], None]] | None = None

    def __str__(self) -> str:
        return f"{self.ours}-{self.label}"

    @property
    def names(self) -> str:
        return PAIRS[self.ours][0]


def arguments(name: str) -> dict[str, inspect.Parameter]:
    """The arguments of torch's class that ours takes, by introspection."""
    theirs = inspect.signature(getattr(torch.optim, PAIRS[name][0]).__init__).parameters
    return {k: q for k, q in theirs.items() if k not in ("self", "params", *GIVEN.get(name, ()))}


def probes(name: str) -> dict[str, tuple[Any, ...]]:
    """The values for each argument of torch's class.

    Raises:
        KeyError: torch's class has an argument that nobody has thought of yet.
    """
    taken: dict[str, tuple[Any, ...]] = {}
    for argument, parameter in arguments(name).items():
        if argument not in PROBES:
            raise KeyError(f"torch.optim.{PAIRS[name][0]} has an argument {argument!r} without an entry in PROBES")
        tensors = "Tensor" in str(parameter.annotation)
        taken[argument] = tuple(v for v in PROBES[argument] if tensors or not callable(v))
    return taken


def _shown(value: Any) -> str:
    return "tensor" if callable(value) else str(value).replace(" ", "")


def cases(name: str) -> Iterator[Case]:
    """Every argument alone, every combination of switches, mixtures of everything, groups, complex numbers."""
    values = probes(name)
    yield Case(name, "defaults")
    for argument, tried in values.items():
        for value in tried:
            settings = {k: v for k, v in COMPANIONS.get(argument, {}).items() if k in values}
            yield Case(name, f"{argument}={_shown(value)}", {**settings, argument: value}, touches=argument)
    for flags in _switches(name, values):
        yield Case(name, "+".join(k for k, v in flags.items() if v is True) or "plain", _beside(name, flags))
    rng = random.Random(name)
    for k in range(6):
        drawn = {a: rng.choice([*tried, arguments(name)[a].default]) for a, tried in values.items()}
        yield Case(name, f"mixture{k}", _allowed(name, drawn))
    yield Case(name, "groups", groups=tuple(_group(name, k, values) for k in range(3)))
    yield Case(name, "groups-foreach", {"foreach": True}, tuple(_group(name, k, values) for k in range(3)))
    for extra in _complex(values):
        yield Case(name, "+".join(["complex", *(k for k in extra if k != "betas")]), extra, complex=True)


def _switches(name: str, values: dict[str, Any]) -> Iterator[dict[str, Any]]:
    switches = [a for a, tried in values.items() if any(v is True for v in tried) and a not in HINTS]
    for chosen in itertools.product((False, True), repeat=len(switches)):
        yield dict(zip(switches, chosen, strict=True))


def _beside(name: str, flags: dict[str, Any]) -> dict[str, Any]:
    numbers = {"weight_decay": 0.1 if name == "AdamW" else 0.03, "momentum": 0.8, "betas": (0.9, 0.95)}
    return {k: v for k, v in numbers.items() if k in arguments(name)} | flags


def _allowed(name: str, drawn: dict[str, Any]) -> dict[str, Any]:
    """A mixture without what torch itself refuses."""
    if drawn.get("nesterov"):
        drawn |= {"momentum": 0.7, "dampening": 0.0}
    if drawn.get("foreach") or drawn.get("fused") or drawn.get("differentiable"):
        # torch refuses tensors beside foreach and fused, and wants only one of the three
        drawn = {k: (v() if callable(v) else v) for k, v in drawn.items()}
        drawn = {k: (_plain(v) if k in ("lr", "betas") else v) for k, v in drawn.items()}
        first = next(h for h in ("differentiable", "fused", "foreach") if drawn.get(h))
        drawn |= {h: None for h in ("foreach", "fused") if h in drawn and h != first}
    if name == "Momentum" and drawn["momentum"] == 0:
        drawn |= {"dampening": 0.0}  # ours refuses it: there is nothing to dampen
    if callable(drawn.get("betas")) or callable(drawn.get("lr")):  # both or none
        drawn |= {k: v for k, v in (("lr", PROBES["lr"][-1]),) if not callable(drawn.get("lr"))}
    return drawn


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_plain(v) for v in value)
    return value.item() if isinstance(value, torch.Tensor) else value


def _group(name: str, k: int, values: dict[str, Any]) -> dict[str, Any]:
    """Settings that differ from group to group, in every argument that is no hint."""
    group: dict[str, Any] = {}
    for argument, tried in values.items():
        plain = [v for v in tried if not callable(v) and v != 0 and v is not True]
        # torch takes a group's initial_accumulator_value and ignores it: tested apart, in test_optimizer_torch
        if argument in HINTS or argument == "initial_accumulator_value":
            continue
        group[argument] = plain[k % len(plain)] if plain else bool(k % 2)
    if group.get("nesterov"):
        group |= {"dampening": 0}
    return group


def _complex(values: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield {}
    for flag in ("amsgrad", "centered", "maximize", "foreach"):
        if flag in values:
            yield {**COMPANIONS.get(flag, {}), flag: True}
    for argument, value in (("momentum", 0.9), ("weight_decay", 0.1), ("initial_accumulator_value", 0.5)):
        if argument in values:
            yield {argument: value}


# ---- the walk


def starts(complex: bool = False, differentiable: bool = False) -> list[torch.Tensor]:
    """A matrix, a vector and a number, float64 whatever the default."""
    made = torch.Generator().manual_seed(3)
    dtype = torch.complex128 if complex else torch.float64
    shapes = ((3, 4), (5,), ())
    tensors = [torch.randn(shape, dtype=dtype, generator=made) for shape in shapes]
    return [p.requires_grad_(not differentiable) for p in tensors]


class Slopes:
    """The gradient at step t: pulls towards a centre, more or less in each coordinate, and never exactly."""

    def __init__(self, params: list[torch.Tensor]):
        made = torch.Generator().manual_seed(4)

        def randn(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
            return torch.randn(shape, dtype=dtype, generator=made)

        self.centres = [3 + randn(tuple(p.shape), p.dtype) for p in params]
        self.pull = [torch.exp(1.5 * randn(tuple(p.shape), torch.float64)) for p in params]
        self.noise = [0.3 * randn((37, *p.shape), p.dtype) for p in params]

    def at(self, params: list[torch.Tensor], t: int) -> list[torch.Tensor]:
        grads = []
        for p, centre, pull, noise in zip(params, self.centres, self.pull, self.noise, strict=True):
            away = p.detach() - centre
            grads.append(pull * away / (1 + away.abs()) + noise[t % 37])
        return grads


def build(case: Case, theirs: bool) -> tuple[torch.optim.Optimizer, list[torch.Tensor]]:
    """One of the two optimizers of a case, with tensors of its own."""
    settings = {k: (v() if callable(v) else copy.deepcopy(v)) for k, v in case.settings.items()}
    params = starts(case.complex, bool(settings.get("differentiable")))
    extra = PAIRS[case.ours][1] if theirs else {}
    if theirs and case.ours == "Nesterov" and settings.get("momentum") == 0:
        extra = {"nesterov": False}  # torch refuses a look ahead without momentum; there is nothing to look at
    cls = getattr(torch.optim, case.names) if theirs else getattr(tw, case.ours)
    given: Any = params
    if case.groups:
        given = [{"params": [p], **group} for p, group in zip(params, case.groups, strict=True)]
    return cls(given, **{**extra, **settings}), params


def walk(case: Case, theirs: bool, steps: int = STEPS, every: int = 20) -> list[list[torch.Tensor]]:
    """The parameters after every `every` steps."""
    optimizer, params = build(case, theirs)
    slopes = Slopes(params)
    # torch's fused SGD cannot have one parameter start later than another of its group.
    late = 0 if case.settings.get("fused") else LATE
    turn = case.schedule(optimizer) if case.schedule else None
    seen = []
    for t in range(steps):
        for i, (p, g) in enumerate(zip(params, slopes.at(params, t), strict=True)):
            p.grad = None if i == len(params) - 1 and t < late else g
        optimizer.step()
        if turn is not None:
            turn(t)
        if (t + 1) % every == 0:
            seen.append([p.detach().clone() for p in params])
    return seen


def difference(ours: list[list[torch.Tensor]], theirs: list[list[torch.Tensor]]) -> float:
    """The largest max|p - q| / max|q| over all tensors and all times looked at; NaN is never equal."""
    worst = 0.0
    for ps, qs in zip(ours, theirs, strict=True):
        for p, q in zip(ps, qs, strict=True):
            d = float((p - q).abs().max() / q.abs().max())
            worst = d if d != d else max(worst, d)
            if worst != worst:
                return worst
    return worst


def all_cases() -> list[Case]:
    return [case for name in PAIRS for case in cases(name)]
