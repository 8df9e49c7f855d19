"""Budgets: how much is spent on whom; the presets, and the ledger of what was spent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from thalweg.lab.space import dimensions
from thalweg.signature import did_you_mean

if TYPE_CHECKING:
    from thalweg.lab.protocol import Trial
    from thalweg.lab.train import Run

ALPHA = 0.05
# How the error of 5 % is spent over the looks at the confirmation (docs/lab.md).
SPENDING = {1: (0.05,), 2: (0.02, 0.03), 3: (0.01, 0.02, 0.02)}
EDGE_RUNS = 2  # for every optimizer, once one of them has its best lr at an edge
NOISE_SEEDS = 3
CHOICE_CONFIGURATIONS = 2
CHOICE_SEEDS = 2
COUNTED: tuple[str, ...] = (  # in the ledger
    *(f"{kind}_runs" for kind in ("search", "noise", "choice", "confirmation")),
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
    """

    preset: str
    points: int
    promoted: int
    looks: tuple[int, ...]

    def __post_init__(self) -> None:
        if isinstance(self.points, bool) or not isinstance(self.points, int):
            raise ValueError(f"points is {self.points!r}; it must be a whole number of search points per optimizer.")
        searched = dimensions(self.points)
        if self.points < max(2, searched + 1):
            raise ValueError(
                f"points is {self.points}; a comparison needs at least 2 points per optimizer besides its "
                "defaults: 3 full runs, and more points than searched hyper-parameters."
            )
        if self.promoted < 2:
            raise ValueError(f"promoted is {self.promoted}; at least 2 optimizers must be confirmed.")
        if len(self.looks) not in SPENDING or sorted(set(self.looks)) != list(self.looks) or self.looks[0] < 2:
            raise ValueError(f"looks is {self.looks}; it must be 1 to 3 rising numbers of seeds, from 2 on.")

    @property
    def alphas(self) -> tuple[float, ...]:
        """The error that each look may spend."""
        return SPENDING[len(self.looks)]

    def runs(self, optimizers: int) -> tuple[int, int]:
        """The fewest and the most runs that a comparison of so many optimizers takes."""
        promoted = min(self.promoted, optimizers)
        choice = CHOICE_CONFIGURATIONS * CHOICE_SEEDS
        search = optimizers * (1 + self.points) + NOISE_SEEDS
        least = search + 2 * (choice + self.looks[0])
        most = search + optimizers * EDGE_RUNS + promoted * (choice + self.looks[-1])
        return least, most


PRESETS = {
    "quick": Budget("quick", points=9, promoted=2, looks=(5,)),
    "standard": Budget("standard", points=27, promoted=4, looks=(5, 10)),
    "thorough": Budget("thorough", points=81, promoted=4, looks=(5, 10, 20)),
}


def find(budget: str | Budget, points: int | None = None) -> Budget:
    """A preset by its name, with another number of points if one is given.

    Raises:
        ValueError: there is no such preset, or points are too few for a comparison.
    """
    if isinstance(budget, str):
        if budget not in PRESETS:
            raise ValueError(
                f"budget is {budget!r}; it must be one of {', '.join(PRESETS)}.{did_you_mean(budget, PRESETS)}"
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
    for trial, _ in done:
        kind = "search" if trial.phase in ("default", "search", "edge") else trial.phase
        own = spent[trial.optimizer]
        own[f"{kind}_runs"] += 1
        own["total_steps"] += trial.steps
        own["search_steps"] += trial.steps * (kind == "search")
    return spent
