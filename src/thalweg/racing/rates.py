"""`map`: how fast an optimizer converges, over a grid of two of its settings, and where it no longer does."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from thalweg import landscapes
from thalweg.card import Log, OneMinusLog, card_of
from thalweg.engine.trajectory import plain
from thalweg.lab.files import write
from thalweg.landscape import Interval, Landscape
from thalweg.racing.entries import Entry, Given, Settings, entries
from thalweg.racing.race import placed
from thalweg.racing.walk import walk
from thalweg.signature import Rule, check_number, did_you_mean, signature_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIDE = 40
KINDS = ("png", "svg", "csv", "json")
FURTHEST = 1e100  # a walk that is as far away is not followed any further
WANTS_LOG = 20.0  # a range given by hand is spread in the logarithm if its ends are so many times apart


@dataclass(frozen=True)
class Linear:
    """A range spread evenly from `low` to `high`."""

    low: float
    high: float

    def at(self, u: float) -> float:
        """The value at `u` in [0, 1]."""
        return self.low + u * (self.high - self.low)


@dataclass(frozen=True)
class Axis:
    """One side of the map: the setting's name, its range, and the values along it."""

    name: str
    range: Log | OneMinusLog | Linear
    values: list[float]


@dataclass(frozen=True, repr=False)
class RateMap:
    """What `map` returns.

    Attributes:
        landscape, optimizer: what was walked on, and by whom. settings: what else was given.
        x, y: the axes.
        rates: (y, x): by what the distance to the minimum is multiplied in one step, measured late
            in the walk. Above 1 the walk diverges.
        measured: what was taken as the distance: "distance to the minimum" or, where none is known,
            "gradient norm".
    """

    landscape: Landscape
    optimizer: str
    settings: dict[str, Any]
    x: Axis
    y: Axis
    rates: Tensor
    steps: int
    measured: str

    @property
    def digits(self) -> Tensor:
        """Steps per decimal digit, -1 / log10(rate); infinite where the walk does not converge."""
        return torch.where(self.rates < 1, -1 / torch.log10(self.rates), math.inf)

    @property
    def best(self) -> dict[str, float]:
        """The fastest settings, their rate, and their steps per decimal digit."""
        row, column = divmod(int(self.rates.argmin()), len(self.x.values))
        where = {self.x.name: self.x.values[column], self.y.name: self.y.values[row]}
        rate = float(self.rates[row, column])
        return {**where, "rate": rate, "steps per digit": float(self.digits[row, column])}

    def description(self) -> str:
        """The map in words."""
        best, stable = self.best, float((self.rates < 1).double().mean())
        where = ", ".join(f"{name} {best[name]:.3g}" for name in (self.x.name, self.y.name))
        return (
            f"{self.optimizer} on {self.landscape.name}, {len(self.x.values)} values of {self.x.name} by "
            f"{len(self.y.values)} of {self.y.name}. Fastest: {where}, with {best['steps per digit']:.3g} steps per "
            f"decimal digit (the {self.measured} shrinks by {best['rate']:.4g} each step). It converges on "
            f"{stable:.0%} of the map. Measured late in {self.steps} steps."
        )

    __repr__ = description

    def data(self) -> dict[str, Any]:
        """Everything, as JSON can hold it."""
        axes = {key: {"name": axis.name, "values": axis.values} for key, axis in (("x", self.x), ("y", self.y))}
        return plain(
            {
                "landscape": self.landscape.name, "optimizer": self.optimizer, "settings": self.settings, **axes,
                "steps": self.steps, "measured": self.measured, "rates": self.rates, "best": self.best,
            }
        )  # fmt: skip

    def figure(self, theme: str = "light") -> Figure:
        """The picture, as a matplotlib figure; theme is "light" or "dark"."""
        from thalweg.pictures.rates import picture

        return picture(self, theme)

    def save(self, path: str | Path, theme: str = "light") -> Path:
        """Write what the ending of `path` says: png, svg, csv or json."""
        from thalweg.racing.files import ending, write_picture

        path = Path(path)
        kind = ending(path, KINDS)
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "json":
            write(path, json.dumps(self.data(), allow_nan=False) + "\n")
        elif kind == "csv":
            out = io.StringIO()
            writer = csv.writer(out, lineterminator="\n")
            writer.writerow([self.x.name, self.y.name, "rate"])
            for row, y in zip(plain(self.rates), self.y.values, strict=True):
                writer.writerows([x, y, rate] for x, rate in zip(self.x.values, row, strict=True))
            write(path, out.getvalue())
        else:
            title = f"{self.optimizer} on {self.landscape.name}: rate of convergence"
            write_picture(self.figure(theme), path, theme, title, self.description())
        return path


def map(
    landscape: str | Landscape | Any = "valley",
    optimizer: Given = "momentum",
    x: str = "lr",
    y: str = "momentum",
    *,
    x_range: Interval | None = None,
    y_range: Interval | None = None,
    size: int = SIDE,
    steps: int = 1000,
    settings: Settings | None = None,
    start: Sequence[float] | None = None,
    rotate: float = 0.0,
    seed: int = 0,
) -> RateMap:
    """How fast an optimizer converges, over a grid of two settings: `size` x `size` walks in one batched call.

    Args:
        landscape: as for `race`.
        optimizer: a name, with settings or without, or a rule.
        x, y: the hyper-parameters along the axes.
        x_range, y_range: their ends; the range on the optimizer's card by default. A range of one's own is
            spread in the logarithm if its ends are far apart, else evenly.
        size: values per axis. steps: of every walk.
        settings: of the optimizer, `{"adam.beta1": 0.5}`. start, rotate, seed: as for `race`.

    Returns:
        A `RateMap`: `.rates`, `.best`, `.figure()`, `.save("map.png")`.

    Raises:
        ValueError, TypeError: what was asked for cannot be done; a sentence says why.

    Example:
        >>> map("valley(condition=9)", "sgd", "lr", "lr", size=2, x_range=(0.1, 0.2))
        Traceback (most recent call last):
        ValueError: x and y are both 'lr'; they must be two settings.
    """
    if x == y:
        raise ValueError(f"x and y are both {x!r}; they must be two settings.")
    for name, value in (("size", size), ("steps", steps)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 2:
            raise ValueError(f"{name} is {value!r}; it must be a whole number, at least 2.")
    place = placed(landscapes.load(landscape), start, None, rotate)
    found = entries(optimizer, settings=settings)
    entry = found[0]
    if len(found) != 1 or not isinstance(entry, Entry):
        raise ValueError(f"optimizer is {optimizer!r}; a map shows one, and one that has settings to choose.")
    across, up = (_axis(entry.rule, name, ends, size) for name, ends in ((x, x_range), (y, y_range)))
    given = {**entry.settings, **({} if entry.lr is None else {"lr": entry.lr})}
    hyper = {**signature_of(entry.rule).defaults, **given}
    hyper |= {x: across.values * size, y: [value for value in up.values for _ in range(size)]}
    hyper["lr"] = torch.as_tensor(hyper["lr"], dtype=torch.float64)
    walks = walk(entry.rule, place, place.point(), steps, hyper, members=size * size, seed=seed, decay=place.decay)
    if place.minima:
        minima = torch.tensor(place.minima, dtype=torch.float64)
        away = (walks.positions.unsqueeze(2) - minima).abs().amax(-1).amin(-1)  # of squares, small ones would vanish
        rounding, measured = 1e-12 * float(minima.abs().max()), "distance to the minimum"
    else:
        away, measured = walks.gradients.flatten(2).abs().amax(-1), "gradient norm"
        rounding = 1e-12 * float(away[0].max())
    rates = contraction(away, rounding).reshape(size, size)
    return RateMap(place, entry.name, given, across, up, rates, steps, measured)


def _axis(rule: Rule, name: str, ends: Interval | None, size: int) -> Axis:
    signature, card = signature_of(rule), card_of(rule)
    if name not in signature.numbers:
        near = did_you_mean(name, signature.numbers)
        raise ValueError(f"{signature.name} has no number {name!r}.{near} It has {', '.join(signature.numbers)}.")
    known = card.search.get(name) if card else None
    if ends is None and known is None:
        raise ValueError(f"the card of {signature.name} has no range for {name}; give one, as in 0.1:0.9.")
    spread: Log | OneMinusLog | Linear | None = known
    if ends is not None:
        low, high = ends
        check_number(name, low)
        check_number(name, high)
        if not (low < high and math.isfinite(high)):
            raise ValueError(f"the range of {name} is {low:g} to {high:g}; it must go up.")
        spread = Log(low, high) if low > 0 and high > WANTS_LOG * low else Linear(low, high)
    assert spread is not None
    return Axis(name, spread, [spread.at(i / (size - 1)) for i in range(size)])


def contraction(away: Tensor, rounding: float = 0.0) -> Tensor:
    """By what each of K distances, in (T + 1, K), is multiplied per step.

    Of the steps in which the distance is neither lost in rounding nor beyond all bounds, the largest distance
    in the last quarter is compared with that in the quarter before: so oscillation does no harm. A swing that is
    longer than a quarter may look like growth; there the two halves decide.

    >>> contraction(torch.tensor([[0.5**t] for t in range(20)]).double())
    tensor([0.5000], dtype=torch.float64)
    """
    lowest = max(rounding, 1e-290)
    usable = torch.isfinite(away) & (away > lowest) & (away < FURTHEST)
    count = usable.double().cumprod(0).sum(0).long()  # the steps before the first unusable one
    t = torch.arange(len(away))[:, None]

    def largest(begin: Tensor, end: Tensor) -> Tensor:
        return torch.where((t >= begin) & (t < end), away, 0.0).nan_to_num().amax(0).log()

    quarter, half = count // 4, count // 2
    late = (largest(count - quarter, count) - largest(count - 2 * quarter, count - quarter)) / quarter
    halves = (largest(count - half, count) - largest(count - 2 * half, count - half)) / half
    slope = torch.where((late > 0) & (halves < 0), halves, late)
    following = away[count.clamp(max=len(away) - 1), torch.arange(away.shape[1])]
    at_once = torch.where(following <= lowest, 0.0, math.inf)  # it was there, or gone, before it could be measured
    return torch.where(count >= 8, slope.exp(), at_once)
