"""What one training came to: its learning curve, its end, and why it ended early."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Half = Literal["selects", "reports"]
CURVE_POINTS = 10  # besides the one before the first step


@dataclass(frozen=True)
class Point:
    """A point of a learning curve: after `step` steps; `loss` is the mean since the point before."""

    step: int
    loss: float | None
    metric: float | None


@dataclass(frozen=True)
class Run:
    """What one training came to.

    Attributes:
        final: the metric after the last step taken, None when the run diverged.
        curve: points from step 0 to the last, evenly spread; the metric is on the half the run was given.
        seconds: wall-clock seconds from step 0 on, evaluation included.
        steps: steps taken from step 0 on; fewer than asked for when the run diverged.
        why: None, or why the run counts as diverged.
        error: None, or the exception that ended it, in a sentence: a run that failed is no divergence.
        details: the traceback, and what it had printed.
        reported: of a run that helps to choose between settings, the final metric on the half that chooses nothing:
            how far they are apart there (protocol.search_lucks). None for all others.
        memory: bytes it took (cost.memory_of).
        alone: None, or why it could not be trained as one with others, where that was tried.
    """

    final: float | None
    curve: tuple[Point, ...]
    seconds: float
    steps: int
    why: str | None = None
    error: str | None = None
    details: str | None = None
    reported: float | None = None
    memory: int | None = None
    alone: str | None = None

    @property
    def diverged(self) -> bool:
        """Whether the run counts as worst."""
        return self.why is not None

    @property
    def failed(self) -> bool:
        """Whether an error of the task or the machine ended it, so that it counts for nothing."""
        return self.error is not None

    @property
    def untrained(self) -> float | None:
        """The metric before the first step, if it is known."""
        return self.curve[0].metric if self.curve else None


def curve_steps(steps: int) -> set[int]:
    """The steps after which the curve has a point: at most ten, evenly spread, the last one among them."""
    points = min(CURVE_POINTS, steps)
    return {round(steps * i / points) for i in range(1, points + 1)}
