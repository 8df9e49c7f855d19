"""One optimizer's walk in a race: its numbers, how it ended, and in words. All that share a rule walk together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from thalweg.engine.gain import gains
from thalweg.engine.trajectory import Trajectory
from thalweg.landscape import Landscape
from thalweg.racing.entries import Entry, Searcher
from thalweg.racing.searches import search
from thalweg.racing.walk import Decay, Walks, factor, walk
from thalweg.signature import Rule, signature_of

Edge = Literal["low", "high"]
THERE = 1e-6  # of the loss between start and minimum: what is left when the minimum counts as reached
GONE = 1e6  # times the loss at the start: a walk that ends higher has diverged
FLAT = 1e-6  # of the largest gradient: what is left of it when a walk counts as stopped


@dataclass(frozen=True)
class Run:
    """One optimizer's walk.

    Attributes:
        name: what it is called. settings: every hyper-parameter, lr among them.
        given: those that were asked for. fixed: whether lr was, too; edge: the end of the searched range at
            which the chosen lr lies, or None.
        strip: (lr, loss reached) for every lr that was tried; None where it diverged.
        reached: the loss reached: its mean over the last tenth of the steps; infinite if it diverged.
        ending: how it ended, in words. at: the step at which it did, where there is one.
        trajectory: per step: `evaluations`, a quantity per coordinate, `loss`, `gradient norm`, `rate` (the
            effective learning rate) per coordinate; for a matrix, its singular values.
    """

    name: str
    settings: dict[str, Any]
    given: dict[str, Any]
    fixed: bool
    edge: Edge | None
    strip: list[tuple[float, float | None]]
    reached: float
    ending: str
    at: int | None
    trajectory: Trajectory

    @property
    def lr(self) -> float | None:
        """The learning rate of this walk; None for a minimizer, which has none."""
        return self.settings.get("lr")

    @property
    def diverged(self) -> bool:
        """Whether the walk left all bounds."""
        return self.ending == "diverged"


def tail(steps: int) -> int:
    """How many of the last steps count for the loss reached."""
    return max(1, steps // 10)


def groups(competitors: list[Entry]) -> list[list[Entry]]:
    """Those that share a rule and its flags: they can walk in one batched call."""
    groups: dict[Any, list[Entry]] = {}
    for entry in competitors:
        signature = signature_of(entry.rule)
        flags = tuple(entry.settings.get(name, values[0]) for name, values in signature.flags.items())
        groups.setdefault((entry.rule, flags, tuple(signature.kept(entry.settings))), []).append(entry)
    return list(groups.values())


def together(group: list[Entry], place: Landscape, steps: int, lrs: int, seed: int, decay: Decay) -> dict[str, Run]:
    """The walks of a group at every lr, in one batched call per step; of each entry, the chosen one."""
    rule, signature = group[0].rule, signature_of(group[0].rule)
    columns = [(entry, lr) for entry in group for lr in entry.lrs(lrs)]
    hyper: dict[str, Any] = {name: group[0].settings.get(name, v[0]) for name, v in signature.flags.items()}
    for name, default in signature.numbers.items():
        values = [entry.settings.get(name, default) for entry, _ in columns]
        hyper[name] = values[0] if len(set(values)) == 1 else values
    hyper["lr"] = [lr for _, lr in columns]
    walks = walk(
        rule, place, place.point(), steps, hyper, members=len(columns), seed=seed, decay=decay, keep_slots=True
    )
    reached = walks.losses[-tail(steps) :].mean(0)
    lost = ~torch.isfinite(walks.positions.flatten(2)).all(-1) | ~torch.isfinite(walks.losses)
    reached = torch.where(lost.any(0) | (reached > _limit(walks.losses[0, 0], place)), math.inf, reached)
    found, first = {}, 0
    for entry in group:
        tried = entry.lrs(lrs)
        mine = reached[first : first + len(tried)]
        best = len(tried) - 1 if entry.lr is not None else int(mine.argmin())
        settings = {**signature.defaults, **entry.settings, "lr": tried[best]}
        strip = [(x, None if math.isinf(y) else y) for x, y in zip(tried, mine.tolist(), strict=True)]
        edge: Edge | None = "low" if best == 0 else "high" if best == lrs - 1 else None
        edge = None if entry.lr is not None else edge
        k = first + best
        # A place that is no number counts as a loss that is none.
        losses = torch.where(torch.isfinite(walks.positions[:, k].flatten(1)).all(1), walks.losses[:, k], math.nan)
        slopes = walks.gradients[:, k].flatten(1).norm(dim=1)
        ending, at = _ending(losses, slopes, place, float(mine[best]))
        given = {**entry.settings, **({} if entry.lr is None else {"lr": entry.lr})}
        found[entry.name] = Run(
            entry.name, settings, given, entry.lr is not None, edge, sorted(strip), float(mine[best]), ending, at,
            _trajectory(rule, place, walks, k, settings, decay),
        )  # fmt: skip
        first += len(tried)
    return found


def searched(entry: Searcher, place: Landscape, steps: int) -> Run:
    """A minimizer's walk."""
    walked = search(entry, place, steps)
    losses, slopes = (torch.tensor(walked[name], dtype=torch.float64) for name in ("loss", "gradient norm"))
    ending, at = _ending(losses, slopes, place, float(losses[-1]))
    options = dict(entry.options)
    at = None if at is None else walked["evaluations"][at]
    return Run(entry.name, options, options, True, None, [], float(losses[-1]), ending, at, walked)


def _trajectory(
    rule: Rule, place: Landscape, walks: Walks, k: int, settings: dict[str, Any], decay: Decay
) -> Trajectory:
    positions, gradients = walks.positions[:, k], walks.gradients[:, k]
    steps = list(range(len(positions)))
    values: dict[str, list[Any]] = {"evaluations": [s + 1 for s in steps]}  # the start's own comes first
    if place.is_matrix:
        values[place.coordinates[0]] = positions.tolist()
        values["singular values"] = torch.linalg.svdvals(positions.nan_to_num()).tolist()
    else:
        for i, name in enumerate(place.coordinates):
            values[name] = positions[:, i].tolist()
    values["loss"] = walks.losses[:, k].tolist()
    values["gradient norm"] = gradients.flatten(1).norm(dim=1).tolist()
    if place.bounds:
        values["correction"] = walks.corrections[:, k].tolist()
    times = torch.arange(1, len(steps), dtype=torch.float64)
    slots = {name: torch.stack([state[name][k] for state in walks.slots]) for name in walks.slots[0]}
    lr = settings["lr"] * torch.tensor([factor(decay, s) for s in steps[1:]], dtype=torch.float64)
    rates = gains(rule, positions[:-1], gradients[:-1], slots, times, **{**settings, "lr": lr})
    if place.is_matrix:
        values["rate"] = [None, *rates.flatten(1).median(1).values.tolist()]
    else:
        for i, name in enumerate(place.coordinates):
            values[f"rate {name}"] = [None, *rates[:, i].tolist()]
    return Trajectory(steps, values)


def _limit(begin: Tensor, place: Landscape) -> float:
    """A loss above this is no longer a loss: the walk has diverged, even if it has not overflowed yet."""
    lowest = place.lowest or 0.0
    return lowest + GONE * (abs(float(begin) - lowest) + 1e-300)


def _ending(losses: Tensor, slopes: Tensor, place: Landscape, reached: float) -> tuple[str, int | None]:
    """How a walk ended, in words, and the row at which it did."""
    if math.isinf(reached):
        gone = ~torch.isfinite(losses) | (losses > _limit(losses[0], place))
        return "diverged", int(gone.nonzero()[0])
    if reached > losses[0]:
        return "ended higher than it began", None
    if place.lowest is not None:
        outside = (losses - place.lowest > THERE * (losses[0] - place.lowest)).nonzero()
        after = int(outside[-1]) + 1 if len(outside) else 0
        if after < len(losses):
            return "reached the minimum", after
    if place.sample is None and slopes[-1] <= FLAT * slopes.max():
        return ("stopped where it is flat" if place.lowest is None else "stopped elsewhere"), None
    return "still on its way", None


# ---- in words


def row(run: Run) -> tuple[str, str, str, str]:
    """A run's line in a table."""
    why = "fixed" if run.fixed else {"low": "lowest tried", "high": "highest tried"}.get(run.edge or "", "")
    lr = "none" if run.lr is None else f"{run.lr:.3g}" + (f" ({why})" if why else "")
    return run.name, lr, "diverged" if math.isinf(run.reached) else f"{run.reached:.4g}", shown_ending(run)


def shown_ending(run: Run) -> str:
    """How a run ended, with its step."""
    return run.ending if run.at is None else f"{run.ending} at {'step' if run.lr else 'evaluation'} {run.at}"
