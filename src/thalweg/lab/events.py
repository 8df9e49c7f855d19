"""What a comparison tells while it runs. The library prints nothing: whoever wants to see gives a function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from thalweg.lab.plan import Plan, Trial
from thalweg.lab.run import Run


@dataclass(frozen=True)
class Planned:
    """Before the first run: what will be done, and how long that will about take.

    `work` (in full runs) and `seconds` are the least and the most; `jobs` is the number of processes.
    """

    plan: Plan
    metric: str
    work: tuple[float, float]
    seconds: tuple[float, float]
    jobs: int


@dataclass(frozen=True)
class Stage:
    """A stage begins: its name ("default", "search", ...) and its number of runs."""

    phase: str
    runs: int


@dataclass(frozen=True)
class Started:
    """A run has begun."""

    trial: Trial


@dataclass(frozen=True)
class Finished:
    """A run has ended; `known` if it was made before, and is only remembered."""

    trial: Trial
    run: Run
    known: bool = False


@dataclass(frozen=True)
class Stopped:
    """Ctrl-C: no further run; what is known is put together."""


Event = Planned | Stage | Started | Finished | Stopped
Progress = Callable[[Event], None]
# What makes runs of trials, in their order, and tells of each as it begins and ends.
Perform = Callable[[Sequence[Trial], Progress], list[Run]]


def silent(event: Event) -> None:
    """Tell nobody."""
