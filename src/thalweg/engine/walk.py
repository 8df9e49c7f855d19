"""Walk a rule without any optimizer class: fixed gradients, every setting, any engine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from thalweg.card import card_of
from thalweg.engine import eager
from thalweg.engine.cell import AS_TORCH, Cell, starts
from thalweg.engine.store import Store
from thalweg.signature import Rule, signature_of

STEPS = 8


def settings_of(rule: Rule) -> Iterator[dict[str, Any]]:
    """Every combination of flags, with the numbers at their defaults and with those at 0 switched on."""
    signature = signature_of(rule)
    card = card_of(rule)
    switched = {name: 0.1 for name, value in signature.numbers.items() if value == 0}
    for flags in signature.flag_settings():
        for numbers in ({}, switched) if switched else ({},):
            hyper = {**signature.defaults, **numbers, **flags}
            if not (card and card.refuses and card.refuses(hyper)):
                yield hyper


def gradients(shape: tuple[int, ...], steps: int = STEPS, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    """A fixed sequence of gradients with sizes from 0.1 to 10."""
    generator = torch.Generator().manual_seed(7)
    sizes = torch.logspace(-1, 1, steps, dtype=torch.float64)
    return [(torch.randn(shape, generator=generator, dtype=torch.float64) * s).to(dtype) for s in sizes]


def beginning(shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """A fixed parameter of that shape."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64).to(dtype)


def walk(
    rule: Rule, hyper: dict[str, Any], p: torch.Tensor, grads: list[torch.Tensor], engine=eager, fading: bool = False,
    store: Store = AS_TORCH,
) -> list[Cell]:  # fmt: skip
    """The cell after each step, each engine's call given one cell; `fading` lets lr fall on the way."""
    slots, cells = starts(rule, hyper, p, store), []
    for t, g in enumerate(grads, 1):
        now = {**hyper, "lr": hyper["lr"] * 0.8**t} if fading and "lr" in hyper else hyper
        [(p, slots)] = engine.step(rule, [Cell(p, g, slots, t, store)], now)
        cells.append(Cell(p, g, slots, t, store))
    return cells
