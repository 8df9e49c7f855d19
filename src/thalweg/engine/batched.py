"""K settings at once: the rule under `torch.func.vmap` with a leading axis of K.

Any numeric hyper-parameter may be K numbers, and parameters, gradients and slots hold K of each: member k
of the result is what a run of its own with setting k gives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from thalweg.engine.cell import Cell, start, stored
from thalweg.engine.foreach import TensorList
from thalweg.engine.store import widened
from thalweg.engine.trace import trace
from thalweg.signature import Rule, did_you_mean, signature_of

Tensors = torch.Tensor | list[torch.Tensor]


def starts(rule: Rule, p: torch.Tensor, **hyper: Any) -> dict[str, torch.Tensor]:
    """The slots' first values beside K parameters of shape (K, ...); numbers are float64 of shape (K,).

    Args:
        rule: the formula.
        p: K parameters, stacked.
        hyper: hyper-parameters that a slot's start or presence depends on; one or K numbers each.
    """
    signature = signature_of(rule)
    settings = {**signature.defaults, **_settings(rule, hyper, len(p))}
    made: dict[str, torch.Tensor] = {}
    for name, slot in signature.kept(settings).items():
        rows = [
            start(
                slot, row, {key: v[k] if isinstance(v, torch.Tensor) and v.ndim else v for key, v in settings.items()}
            )
            for k, row in enumerate(p)
        ]
        made[name] = torch.stack(rows)
    return made


def step(
    rule: Rule, p: Tensors, g: Tensors, slots: Mapping[str, Tensors], *, t: int | torch.Tensor = 1, **hyper: Any
) -> tuple[Tensors, dict[str, Any]]:
    """One step of K members; the inputs are not changed.

    Args:
        rule: the formula.
        p, g: parameters and gradients of shape (K, ...), or a list of such tensors (one model each).
        slots: by name, each of shape (K, ...), or (K,) for a slot of one number; lists where p is one.
        t: the step number, from 1; or K of them.
        hyper: by the rule's own names; a number for all, or K numbers (a sequence or a tensor). Flags are
            one value for all.

    Returns:
        The new p and slots, of the same shapes and dtypes.

    Raises:
        ValueError: a hyper-parameter has neither one value nor K. TypeError: an unknown name.

    Example: three learning rates at once.
        >>> from thalweg.rules.sgd import sgd
        >>> p, g = torch.ones(3, 2), torch.ones(3, 2)
        >>> step(sgd, p, g, {}, lr=[0.1, 0.2, 0.3])[0][:, 0]
        tensor([0.9000, 0.8000, 0.7000])
    """
    listed = isinstance(p, list)
    ps, gs = _as_list(p), _as_list(g)
    kept = {name: _as_list(value) for name, value in slots.items()}
    members = len(ps[0])
    signature = signature_of(rule)
    settings: dict[str, Any] = {**signature.defaults, **_settings(rule, hyper, members)}
    whole = listed and trace(rule, **settings).model_wide
    if isinstance(t, torch.Tensor):
        settings["t"] = t.double()  # a power of an integer tensor would be float32
    many = {name: value for name, value in settings.items() if isinstance(value, torch.Tensor) and value.ndim}
    one = {name: value for name, value in settings.items() if name not in many}
    if "t" not in settings:
        one["t"] = t
    names = ("p", *signature.slots)

    def member(ps: list, gs: list, kept: dict[str, list], many: dict[str, torch.Tensor]) -> dict[str, list]:
        columns = [ps, gs, *(kept.get(name) for name in signature.slots)]
        if whole:
            result = rule(*(None if c is None else TensorList(c) for c in columns), **one, **many)
            new = [result] if isinstance(result, TensorList) else list(result)
            return {name: c.tensors for name, c in zip(names, new, strict=True) if c is not None}
        rows = [rule(*(None if c is None else c[i] for c in columns), **one, **many) for i in range(len(ps))]
        rows = [row if isinstance(row, tuple) else (row,) for row in rows]
        return {name: list(c) for name, c in zip(names, zip(*rows, strict=True), strict=True) if c[0] is not None}

    wide = [[widened(x, p.dtype) for x, p in zip(column, ps, strict=True)] for column in (ps, gs)]
    wide_slots = {name: [widened(x, p.dtype) for x, p in zip(column, ps, strict=True)] for name, column in kept.items()}
    after = torch.func.vmap(member)(wide[0], wide[1], wide_slots, many)
    cells = [Cell(ps[i], gs[i], {name: column[i] for name, column in kept.items()}) for i in range(len(ps))]
    done = []
    for i, cell in enumerate(cells):
        result = tuple(after[name][i] if name in after else None for name in names)
        done.append(stored(signature, cell, result))
    if not listed:
        return done[0]
    return [row[0] for row in done], {name: [row[1][name] for row in done] for name in kept}


def _as_list(value: Tensors) -> list[torch.Tensor]:
    return value if isinstance(value, list) else [value]


def _settings(rule: Rule, hyper: Mapping[str, Any], members: int) -> dict[str, Any]:
    """Numbers as they are or K of them as float64; unknown names and other lengths refused."""
    signature = signature_of(rule)
    settings: dict[str, Any] = {}
    for name, given in hyper.items():
        if name not in signature.defaults:
            raise TypeError(f"{signature.name} has no argument {name}.{did_you_mean(name, signature.defaults)}")
        several = isinstance(given, Sequence) and not isinstance(given, str)
        value: Any = torch.tensor(given, dtype=torch.float64) if several else given
        if isinstance(value, torch.Tensor) and value.ndim and value.shape != (members,):
            raise ValueError(
                f"{name} has shape {tuple(value.shape)}; with {members} members it must be one number or {members}."
            )
        settings[name] = value
    return settings
