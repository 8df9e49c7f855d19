"""Search spaces: the same quasi-random points for every optimizer, placed in the ranges of its card.

A point is a list of numbers in [0, 1], the first of which is the learning rate's; `Space.at` turns it into
an optimizer's hyper-parameters. Point number i is the same for every optimizer and whatever their number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from thalweg.card import Log, OneMinusLog, Range
from thalweg.extras import require

Hyper = Mapping[str, float]  # in the rule's own spelling: lr, beta1, weight_decay ...
Side = Literal["low", "high"]

DIMENSIONS = 8  # of the sequence; fixed, so that opening one more dimension moves no point in the others
SEQUENCE_SEED = 3  # of the scrambling for the user's seed 0: none of its first eight lrs lies at an edge
EDGE = 0.1  # share of the lr's range, in the logarithm, that counts as its edge
WITHOUT_CARD: dict[str, Range] = {"lr": Log(1e-5, 1.0)}


def points(n: int, seed: int = 0) -> list[tuple[float, ...]]:
    """The first `n` points of the scrambled Halton sequence, the same for every n; scrambled anew for every seed.

    >>> points(3) == points(9)[:3], points(3, seed=1) == points(3)
    (True, False)
    """
    sequence = require("scipy.stats").qmc.Halton(DIMENSIONS, scramble=True, seed=SEQUENCE_SEED + seed)
    return [tuple(map(float, point)) for point in sequence.random(n)]


def dimensions(n: int) -> int:
    """How many hyper-parameters `n` points per optimizer can search (after the tuning playbook, see docs/lab.md).

    >>> [dimensions(n) for n in (9, 10, 27, 81)]
    [1, 2, 3, 8]
    """
    return 1 if n < 10 else 2 if n < 25 else 3 if n <= 50 else DIMENSIONS


@dataclass(frozen=True)
class Space:
    """What is searched for one optimizer.

    Attributes:
        ranges: of each hyper-parameter, the learning rate first, then the most important.
        default: the settings of the first run: the default lr; everything else stays the rule's default.
        opened: how many of the ranges are searched; the others stay at their defaults.
        edge: the side on which the lr's range was extended, or None.
        source: where the ranges are from.
    """

    ranges: Mapping[str, Range]
    default: Hyper
    opened: int = 1
    edge: Side | None = None
    source: str = ""

    def opened_for(self, n: int) -> Space:
        """As many hyper-parameters as `n` points can search."""
        return replace(self, opened=min(dimensions(n), len(self.ranges)))

    @property
    def searched(self) -> dict[str, Range]:
        """The ranges that are searched."""
        return dict(list(self.ranges.items())[: self.opened])

    def at(self, point: tuple[float, ...]) -> dict[str, float]:
        """The hyper-parameters at a point of [0, 1]^d."""
        return {name: r.at(u) for (name, r), u in zip(self.searched.items(), point, strict=False)}

    def side(self, value: float, name: str = "lr") -> Side | None:
        """The edge that a value lies at: within a tenth of the range, in the logarithm, or beyond."""
        u = self.ranges[name].where(value)
        return "low" if u <= EDGE else "high" if u >= 1 - EDGE else None

    def edges(self, hyper: Hyper) -> dict[str, Side]:
        """The searched hyper-parameters that lie at an edge, and at which."""
        at = {name: hyper[name] for name in self.searched if name in hyper}
        return {name: side for name, value in at.items() if (side := self.side(value, name))}

    def extended(self, side: Side) -> Space:
        """The space with one more decade of learning rates on that side."""
        lr = self.ranges["lr"]
        longer = replace(lr, low=lr.low / 10) if side == "low" else replace(lr, high=lr.high * 10)
        return replace(self, ranges={**self.ranges, "lr": longer}, edge=side)

    def beyond(self, point: tuple[float, ...]) -> dict[str, float]:
        """The hyper-parameters at a point whose learning rate is placed in the decade that was added."""
        lr = self.ranges["lr"]
        decade = Log(lr.low, lr.low * 10) if self.edge == "low" else Log(lr.high / 10, lr.high)
        return {**self.at(point), "lr": decade.at(point[0])}

    def described(self) -> dict[str, dict]:
        """The ranges for the report, in the hyper-parameters' own units."""
        return {name: {**_described(r), "opened": i < self.opened} for i, (name, r) in enumerate(self.ranges.items())}


def _described(r: Range) -> dict:
    if isinstance(r, OneMinusLog):
        return {"scale": "1-log", "low": r.at(0), "high": r.at(1)}
    return {"scale": "log", "low": r.low, "high": r.high}
