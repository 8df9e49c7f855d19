"""`race`: optimizers side by side on a landscape, each at the best of its learning rates."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from thalweg import landscapes
from thalweg.engine.trajectory import plain
from thalweg.landscape import Interval, Landscape
from thalweg.racing.entries import Entry, Given, Searcher, Settings, entries
from thalweg.racing.runs import Run, groups, row, searched, shown_ending, tail, together
from thalweg.racing.walk import Decay
from thalweg.signature import Rule

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LRS = 31  # learning rates that each optimizer tries: its budget
FINEST = 121  # points per side of the map of a landscape


@dataclass(frozen=True, repr=False)
class Race:
    """What `race` returns: the data of every walk; pictures are made from it when they are asked for."""

    landscape: Landscape
    runs: list[Run]
    steps: int
    lrs: int
    seed: int
    decay: Decay

    def __getitem__(self, name: str) -> Run:
        """The walk of that name."""
        found = next((run for run in self.runs if run.name == name), None)
        if found is None:
            raise KeyError(f"{name!r} did not race; {', '.join(run.name for run in self.runs)} did.")
        return found

    @property
    def along(self) -> Literal["step", "evaluations"]:
        """What walks are compared along: steps, or evaluations where a minimizer is among them."""
        return "evaluations" if any(run.lr is None for run in self.runs) else "step"

    @cached_property
    def window(self) -> tuple[Interval, ...]:
        """What a picture shows: the domain, and the start where that lies outside."""
        place = self.landscape.point().tolist()
        return tuple(
            (min(low, x - 0.05 * (high - low)), max(high, x + 0.05 * (high - low)))
            if not low <= x <= high
            else (low, high)
            for (low, high), x in zip(self.landscape.domain, place, strict=False)
        )

    @cached_property
    def heights(self) -> tuple[list[Tensor], Tensor]:
        """The coordinates of a grid over the window, and the loss there; computed once."""
        sides = [torch.linspace(low, high, FINEST, dtype=torch.float64) for low, high in self.window]
        grid = torch.stack(torch.meshgrid(*sides, indexing="xy"), dim=-1)
        return sides, self.landscape.value(grid.reshape(-1, len(sides))).reshape(grid.shape[:-1])

    @property
    def budget(self) -> str:
        """How the learning rates were chosen, in a sentence."""
        last = tail(self.steps)
        lead = f"mean over the last {last} of {self.steps} steps" if last > 1 else "at the last step"
        chosen = [run for run in self.runs if run.lr is not None and not run.fixed]
        asked = [run for run in self.runs if run.lr is not None and run.fixed]
        how = f"Each lr is the best of {self.lrs} over its card's range and a decade beyond either end"
        parts = [
            (how + (", unless asked for" if asked else "")) if chosen else "Every lr as asked for",
            f"loss reached: {lead}",
        ]
        if any(run.lr is None for run in self.runs):
            parts.append("a minimizer makes at most as many evaluations")
            if self.landscape.sample is not None:
                parts[-1] += ", of all rows instead of batches"
        return "; ".join(parts) + "."

    def description(self) -> str:
        """The race in words: what a screen reader says instead of the picture."""
        named = [run.name + ("" if run.lr is None else f" with lr {run.lr:.3g}") for run in self.runs]
        said = [
            f"{name}: {shown_ending(run)}, loss {run.reached:.3g}" for name, run in zip(named, self.runs, strict=True)
        ]
        place = self.landscape
        lead = f"{place.name}: {place.formula}. {self.steps} steps from {_shown(place)}."
        return f"{lead} {'; '.join(said)}. {self.budget}"

    def table(self) -> str:
        """One line per optimizer, as plain text.

        >>> print(race("bowl", "sgd", steps=50).table().splitlines()[0])
        optimizer  lr     loss reached  ending
        """
        rows = [("optimizer", "lr", "loss reached", "ending"), *(row(run) for run in self.runs)]
        wide = [max(len(each[i]) for each in rows) for i in range(3)]
        return "\n".join(f"{a:<{wide[0]}}  {b:<{wide[1]}}  {c:<{wide[2]}}  {d}".rstrip() for a, b, c, d in rows)

    __repr__ = table

    def data(self) -> dict[str, Any]:
        """Everything, as JSON can hold it: what is not finite is None."""
        place = self.landscape
        return plain(
            {
                "landscape": {
                    "name": place.name, "formula": place.formula, "start": place.start, "domain": place.domain,
                    "minima": place.minima, "lowest": place.lowest, "bounds": place.bounds,
                    "coordinates": place.coordinates,
                },
                "steps": self.steps, "lrs": self.lrs, "seed": self.seed, "decay": self.decay, "budget": self.budget,
                "runs": [
                    {
                        "name": run.name, "settings": run.settings, "given": run.given, "fixed": run.fixed,
                        "edge": run.edge, "reached": run.reached, "ending": run.ending, "at": run.at,
                        "strip": run.strip, "trajectory": run.trajectory.data(),
                    }
                    for run in self.runs
                ],
            }
        )  # fmt: skip

    def figure(self, theme: str = "light") -> Figure:
        """The picture, as a matplotlib figure; theme is "light" or "dark"."""
        from thalweg.pictures.race import picture

        return picture(self, theme)

    def save(self, path: str | Path, theme: str = "light", progress: Any = None) -> Path:
        """Write what the ending of `path` says: png, svg, gif, mp4, csv or json.

        Args:
            path: the file; its folder is made.
            theme: "light" or "dark", for pictures.
            progress: called with (frames drawn, frames in all) while a moving picture is drawn.

        Raises:
            ValueError: another ending, or mp4 without ffmpeg.
        """
        from thalweg.racing.files import save

        return save(self, Path(path), theme, progress)


def race(
    landscape: str | Landscape | Any = "rosenbrock",
    optimizers: str | Given | Iterable[Given] | None = None,
    *,
    steps: int = 200,
    lr: float | None = None,
    settings: Settings | None = None,
    start: Sequence[float] | None = None,
    domain: Sequence[Interval] | None = None,
    seed: int = 0,
    rotate: float = 0.0,
    decay: Decay | None = None,
    lrs: int = LRS,
    rules: Iterable[str | Path | Rule] = (),
) -> Race:
    """Let optimizers race on a landscape, each at the best of the same number of learning rates.

    Args:
        landscape: a name (`thalweg.landscapes.names()`), `"valley(condition=100)"`, `"lambda x, y: ..."`,
            `"file.py:function"`, a function of one or two tensors, or a `Landscape`.
        optimizers: `"sgd, momentum, adam(beta1=0.5), bfgs"`, or a list of names and rules; the landscape's own
            suggestion or the classics by default. The methods of `minimize` race by evaluations.
        steps: how many each takes.
        lr: fixes every learning rate; None lets each be chosen over the range on its card and a decade
            beyond either end, as that with the lowest loss reached (the mean over the last tenth of the steps).
        settings: of single optimizers, `{"adam.lr": 0.1, "momentum.momentum": 0.5}`.
        start, domain: where to begin, and what to show: instead of the landscape's own.
        seed: another one draws other batches, where the landscape has any.
        rotate: turns the landscape by so many degrees, and its start with it.
        decay: "constant", or "sqrt" for lr / sqrt(t); the landscape's own by default.
        lrs: how many learning rates each optimizer tries.
        rules: the user's: functions, or paths of files.

    Returns:
        A `Race`: the trajectories; `.figure()`, `.save("race.png")`, `.table()`.

    Raises:
        ValueError, TypeError, FileNotFoundError: what was asked for cannot be done; a sentence says why.

    Example:
        >>> done = race("valley(condition=200)", "sgd, momentum", steps=200)
        >>> done["momentum"].reached < done["sgd"].reached
        True
    """
    _check(steps, lrs, decay)
    place = placed(landscapes.load(landscape), start, domain, rotate)
    if optimizers is None and not list(rules) and place.optimizers:
        optimizers = place.optimizers
    competitors = entries(optimizers, lr, settings, rules)
    decay = decay or place.decay
    found: dict[str, Run] = {}
    for group in groups([entry for entry in competitors if isinstance(entry, Entry)]):
        found |= together(group, place, steps, lrs, seed, decay)
    for entry in competitors:
        if isinstance(entry, Searcher):
            found[entry.name] = searched(entry, place, steps)
    return Race(place, [found[entry.name] for entry in competitors], steps, lrs, seed, decay)


def placed(
    landscape: Landscape, start: Sequence[float] | None, domain: Sequence[Interval] | None, rotate: float
) -> Landscape:
    """The landscape, turned, with another start and domain where they are given."""
    landscape = landscape.rotated(rotate)
    if start is not None:
        if len(start) != len(landscape.point().flatten()) or not all(math.isfinite(x) for x in start):
            count = len(landscape.point().flatten())
            raise ValueError(f"start is {tuple(start)}; {landscape.name} needs {count} numbers.")
        place = torch.tensor(start, dtype=torch.float64).reshape(landscape.shape)
        landscape = replace(landscape, start=place.tolist())
    if domain is not None:
        if len(domain) != len(landscape.domain) or any(len(each) != 2 or not each[0] < each[1] for each in domain):
            count = len(landscape.domain)
            raise ValueError(f"domain is {domain}; {landscape.name} needs {count} intervals (low, high).")
        landscape = replace(landscape, domain=tuple((float(low), float(high)) for low, high in domain))
    loss = float(landscape.value(landscape.point()))
    if not math.isfinite(loss):
        raise ValueError(f"start is {_shown(landscape)}, where {landscape.name} is {loss}; begin where it is a number.")
    return landscape


def _check(steps: int, lrs: int, decay: str | None) -> None:
    for name, value, least in (("steps", steps, 1), ("lrs", lrs, 2)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name} is {value!r}; it must be a whole number, at least {least}.")
    if decay not in (None, "constant", "sqrt"):
        raise ValueError(f"decay is {decay!r}; it must be 'constant' or 'sqrt'.")


def _shown(landscape: Landscape) -> str:
    if landscape.is_matrix:
        return "its start"
    return "(" + ", ".join(f"{x:.3g}" for x in landscape.point().tolist()) + ")"
