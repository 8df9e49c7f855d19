"""Budgets: how much is spent on whom; the presets, and the ledger of what was spent."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from thalweg.lab.space import dimensions
from thalweg.signature import did_you_mean

if TYPE_CHECKING:
    from thalweg.lab.plan import Trial
    from thalweg.lab.run import Run

ALPHA = 0.05
# How the error of 5 % is spent over the looks at the confirmation (docs/lab.md).
SPENDING = {1: (0.05,), 2: (0.02, 0.03), 3: (0.01, 0.01, 0.03)}
EDGE_RUNS = 2  # for every optimizer, once one of them has its best lr at an edge
NOISE_SEEDS = 3
ETA = 3  # of the runs at a rung, one in so many goes on
RUNGS = 2  # at a ninth and at a third of the horizon
LEAST_KEPT = 2  # so many always go on, so that there are 3 full runs with the one at the defaults
MODEL_FROM = 25  # points, from which on the last third of them may be placed by a model
MODEL_AT_ONCE = 9  # of them, about: runs that are asked for together are trained together
CHOICE_CONFIGURATIONS = 2
CHOICE_SEEDS = 2
COUNTED: tuple[str, ...] = (  # in the ledger
    *(f"{kind}_runs" for kind in ("search", "noise", "choice", "confirmation")),
    "full_search_runs",
    "search_steps",
    "total_steps",
)


@dataclass(frozen=True)
class Budget:
    """What every optimizer gets.

    Attributes:
        preset: its name.
        points: quasi-random points per optimizer, besides the run at its defaults.
        promoted: at most so many optimizers are confirmed.
        looks: numbers of confirmation seeds after which the decision is tried.
        rungs: how often runs are pruned on the way: 2 is at a ninth and a third of the horizon, 1 at a third,
            0 never.
        model: whether the last third of 25 or more points is placed by a model (Optuna's TPE).
    """

    preset: str
    points: int
    promoted: int
    looks: tuple[int, ...]
    rungs: int = RUNGS
    model: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.points, bool) or not isinstance(self.points, int):
            raise ValueError(f"points is {self.points!r}; it must be a whole number of search points per optimizer.")
        searched = dimensions(self.points)
        if self.points < max(2, searched + 1):
            raise ValueError(
                f"points is {self.points}; a comparison needs at least 2 points per optimizer besides its "
                "defaults: 3 full runs, and more points than searched hyper-parameters."
            )
        if self.rungs not in range(RUNGS + 1):
            raise ValueError(f"rungs is {self.rungs!r}; it must be 0 (never prune), 1 or 2.")
        if self.promoted < 2:
            raise ValueError(f"promoted is {self.promoted}; at least 2 optimizers must be confirmed.")
        if len(self.looks) not in SPENDING or sorted(set(self.looks)) != list(self.looks) or self.looks[0] < 2:
            raise ValueError(f"looks is {self.looks}; it must be 1 to 3 rising numbers of seeds, from 2 on.")

    @property
    def alphas(self) -> tuple[float, ...]:
        """The error that each look may spend."""
        return SPENDING[len(self.looks)]

    @property
    def modelled(self) -> int:
        """How many of the points are placed by a model."""
        return self.points // 3 if self.model and self.points >= MODEL_FROM else 0

    @property
    def rounds(self) -> list[int]:
        """How many it is asked for at a time."""
        rounds = round(self.modelled / MODEL_AT_ONCE)
        return [self.modelled * (i + 1) // rounds - self.modelled * i // rounds for i in range(rounds)]

    def work(self, optimizers: int) -> tuple[float, float]:
        """What a comparison of so many optimizers takes, in full runs: the least and the most.

        >>> [round(work) for work in PRESETS["standard"].work(8)]  # docs/lab.md: about 113 runs
        [85, 164]
        """
        promoted = min(self.promoted, optimizers)
        choice = CHOICE_CONFIGURATIONS * CHOICE_SEEDS
        least, most = (
            optimizers
            * (1 + self._halved(self.points - self.modelled, keep) + sum(self._halved(n, keep, 1) for n in self.rounds))
            + NOISE_SEEDS
            for keep in (1 / ETA, 1 / 2)
        )
        least += 2 * (choice + self.looks[0])
        most += optimizers * self._halved(EDGE_RUNS, 1 / 2, 1, 1) + promoted * (choice + self.looks[-1])
        return least, most

    def _halved(self, points: int, keep: float, least: int = LEAST_KEPT, rungs: int = RUNGS) -> float:
        """The full runs that so many points cost when a share of them is kept at every rung."""
        cost, done = 0.0, 0.0
        for level in range(min(self.rungs, rungs), 0, -1):
            cost += points * (ETA**-level - done)
            done = ETA**-level
            points = min(points, max(least, math.ceil(points * keep)))
        return cost + points * (1 - done)


class BudgetError(ValueError):
    """A budget does not suffice for a comparison; the sentence says what would."""


@dataclass(frozen=True)
class Amount:
    """A budget as time or as training steps of the whole comparison; what it buys is known when a step is timed."""

    said: str
    seconds: float | None = None
    steps: int | None = None


PRESETS = {
    "quick": Budget("quick", points=9, promoted=2, looks=(5,), rungs=1),
    "standard": Budget("standard", points=27, promoted=4, looks=(5, 10)),
    "thorough": Budget("thorough", points=81, promoted=4, looks=(5, 10, 20)),
}


UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def amount(budget: Any) -> Amount | None:
    """A budget as time ("20m", "1.5h", "90s") or as steps ("5000 steps"); None if it is something else.

    >>> amount("20m").seconds, amount("5000 steps").steps, amount("quick")
    (1200.0, 5000, None)
    """
    match = re.fullmatch(r"\s*([\d_,]*\.?\d+)\s*([a-z]+)\s*", budget) if isinstance(budget, str) else None
    if match is None:
        return None
    number = float(match[1].replace(",", "").replace("_", ""))
    if match[2] in ("step", "steps"):
        return Amount(budget.strip(), steps=int(number))
    if match[2] not in UNITS:
        raise ValueError(f"budget is {budget!r}; time is written as in 90s, 20m or 1.5h, and steps as in '5000 steps'.")
    return Amount(budget.strip(), seconds=number * UNITS[match[2]])


def afforded(amount: Amount, optimizers: int, run_seconds: float, horizon: int, jobs: int, like: Budget) -> Budget:
    """The largest budget that an amount buys even if everything takes its most.

    A larger amount buys more points first, up to those of a preset, then the next preset's looks and places. `like`
    says whether to prune and to use a model.

    Args:
        amount: what there is.
        optimizers: how many compete.
        run_seconds: of one full run, measured, the mean over the optimizers.
        horizon: steps of a full run.
        jobs: processes that work at the same time.
        like: whose `rungs` (0 or not) and `model` are taken.

    Raises:
        BudgetError: it buys no comparison.
    """
    runs = amount.seconds * jobs / run_seconds if amount.seconds is not None else (amount.steps or 0) / horizon
    fewest = 2
    for preset in reversed(PRESETS.values()):
        rungs = preset.rungs if like.rungs else 0
        fewer = {"quick": 2, "standard": 10, "thorough": 28}[preset.preset]
        for points in range(preset.points, fewer - 1, -1):
            if points <= dimensions(points):
                break
            found = replace(preset, preset=amount.said, points=points, rungs=rungs, model=like.model)
            if found.work(optimizers)[1] <= runs:
                return found
            fewest = found.work(optimizers)[1]
    enough = math.ceil(fewest * run_seconds / jobs), math.ceil(fewest) * horizon
    wanted = f"{enough[0]} s" if amount.seconds is not None else f"{enough[1]} steps"
    raise BudgetError(
        f"budget is {amount.said!r}, which is no comparison of {optimizers} optimizers over {horizon} steps: "
        f"3 full runs of each and 5 fresh seeds take about {wanted} here; allow more, or fewer optimizers or steps."
    )


def find(budget: str | Budget, points: int | None = None) -> Budget:
    """A preset by its name, with another number of points if one is given.

    Raises:
        ValueError: there is no such preset, or points are too few for a comparison.
    """
    if isinstance(budget, str):
        if budget not in PRESETS:
            raise ValueError(
                f"budget is {budget!r}; it must be one of {', '.join(PRESETS)}, a time as 20m, or steps as "
                f"'5000 steps'.{did_you_mean(budget, PRESETS)}"
            )
        budget = PRESETS[budget]
    elif not isinstance(budget, Budget):
        raise ValueError(f"budget is {budget!r}; it must be one of {', '.join(PRESETS)}, or a Budget.")
    return budget if points is None else replace(budget, preset=f"{budget.preset}, changed", points=points)


def ledger(names: Iterable[str], done: Iterable[tuple[Trial, Run]]) -> dict[str, dict[str, int]]:
    """What each optimizer was given: runs by purpose, and training steps.

    Steps are counted as given: a run that diverges early was still one bite of the apple.
    """
    spent: dict[str, dict[str, int]] = {name: dict.fromkeys(COUNTED, 0) for name in names}
    ends: dict[Trial, int] = {}
    for trial, _ in done:
        kind = "search" if trial.phase in ("default", "search", "edge") else trial.phase
        own, whole = spent[trial.optimizer], replace(trial, until=None)
        own[f"{kind}_runs"] += whole not in ends
        own["full_search_runs"] += kind == "search" and trial.end == trial.steps
        steps = trial.end - ends.get(whole, 0)  # a longer leg went on where the shorter one ended
        ends[whole] = trial.end
        own["total_steps"] += steps
        own["search_steps"] += steps * (kind == "search")
    return spent
