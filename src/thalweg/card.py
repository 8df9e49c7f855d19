"""What stands beside a rule's formula: where it is from, what it is good for, what to search.

>>> Log(1e-5, 1e-1).at(0.5)
0.001
>>> OneMinusLog(0.01, 1.0).at(0.5)
0.9
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from thalweg.signature import Rule


@dataclass(frozen=True)
class Log:
    """A range searched evenly in the logarithm, from `low` to `high`."""

    low: float
    high: float

    def at(self, u: float) -> float:
        """The value at `u` in [0, 1]; beyond, the range is continued."""
        return float(f"{math.exp(math.log(self.low) + u * math.log(self.high / self.low)):.6g}")

    def where(self, value: float) -> float:
        """The `u` at which the value lies."""
        return math.log(value / self.low) / math.log(self.high / self.low)


@dataclass(frozen=True)
class OneMinusLog:
    """A momentum searched by its distance from 1: ``1 - value`` evenly in the logarithm."""

    low: float
    high: float

    def at(self, u: float) -> float:
        """The value at `u` in [0, 1]: u = 0 is the least memory, u = 1 the most."""
        return float(f"{1 - Log(self.low, self.high).at(1 - u):.6g}")

    def where(self, value: float) -> float:
        """The `u` at which the value lies."""
        return 1 - Log(self.low, self.high).where(1 - value)


Range = Log | OneMinusLog


@dataclass(frozen=True)
class Namesake:
    """How torch.optim spells a rule: its class, and the name it gives each slot in a state_dict.

    `step` says whether torch stores the step number, `at_construction` whether it fills the state when the
    optimizer is made instead of at the first step; `fixed` are settings that torch's groups carry and that
    this rule cannot change.
    """

    name: str
    slots: Mapping[str, str] = field(default_factory=dict)
    step: bool = True
    at_construction: bool = False
    fixed: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Bowl:
    """The demonstration that every rule owes: with this lr it gets to the bottom of a bowl.

    The bowl is 0.5 * (x^2 + 10 y^2) from (1, 1); lr falls linearly to 0 over the steps; the claim is that
    both coordinates end within the tolerance of 0.
    """

    lr: float
    steps: int = 500
    tolerance: float = 1e-3


@dataclass(frozen=True)
class Card:
    """Everything about an optimizer that is not its formula.

    Args:
        title: the name of its class (torch's spelling where torch has it).
        paper: authors, year, where, and which equation or algorithm the formula is.
        summary: what it does, in one sentence.
        intuition: why that works, in a few sentences.
        strengths, weaknesses: one sentence each.
        when, when_not: when to reach for it, and when not.
        symbols: what each slot and intermediate name of the formula stands for.
        search: the range of each hyper-parameter worth tuning, the most important first.
        search_source: where the ranges are from.
        claims: properties that hold, each one a contract test by that name.
        conventions: the settings that reproduce another library, the paper or the lecture.
        conventions_note: what to know about them.
        kin: its relatives, each with how they differ.
        torch: its namesake in torch.optim.
        bowl: the lr and tolerance of its demonstration.
        decays: whether the class adds torch's ``weight_decay`` in front of the rule ("coupled", or
            "either" where torch has ``decoupled_weight_decay``; "own": the rule has it itself).
        kernels: how many passes over memory a step takes; an elementwise rule needs one.
        refuses: which combinations of settings make no sense: a sentence saying why, or None.
    """

    title: str
    paper: str
    summary: str
    intuition: str
    strengths: list[str]
    weaknesses: list[str]
    when: str
    when_not: str
    symbols: Mapping[str, str]
    search: Mapping[str, Range]
    search_source: str
    bowl: Bowl
    claims: frozenset[str] = frozenset()
    conventions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    conventions_note: str = ""
    kin: Mapping[str, str] = field(default_factory=dict)
    torch: Namesake | None = None
    decays: str = "coupled"
    kernels: int = 1
    refuses: Callable[[Mapping[str, Any]], str | None] | None = None


def card_of(rule: Rule) -> Card | None:
    """The card that stands in the rule's own file, or None (a user's rule may have none)."""
    card = getattr(sys.modules.get(rule.__module__), "card", None)
    return card if isinstance(card, Card) else None
