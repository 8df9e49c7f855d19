"""Backtracking until the value has fallen enough (Armijo 1966)."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from thalweg.minimize.arrays import Line
from thalweg.minimize.card import MethodCard
from thalweg.minimize.search import Refine, Search


def backtracking(c1: float = 1e-4, trials: int = 60) -> Search:
    """Armijo's test with constant `c1`, at most `trials` steps, each 0.1 to 0.5 of the last."""
    return Search(partial(accepts, c1=c1), partial(refines, trials=trials), card)


def accepts(at: Line, step: Any, f: Any, slope: Any, c1: float) -> Any:
    """Armijo's test, for numbers or arrays."""
    return (f <= at.f + c1 * step * at.slope) & (f > -math.inf)


def refines(at: Line, step: float, f: float, slope: float, trials: int) -> Refine:
    """The steps that the search asks for after a trial that was refused."""
    for _ in range(trials):
        rise = f - at.f - step * at.slope  # of the parabola through f, its slope, and the trial
        best = -at.slope * step / (2 * rise) if math.isfinite(f) and rise > 0 else 0.1
        step *= min(max(best, 0.1), 0.5)
        f, _ = yield step


card = MethodCard(
    title="Armijo backtracking",
    paper="Armijo, Pacific J. Math. 16, 1966; Nocedal and Wright 2006, algorithm 3.1",
    formula="f(x + a d) <= f(x) + c1 a g'd",
    intuition="Do not celebrate any decrease: ask for a share of what the slope promises, and halve until you get it.",
    strengths=["one or two evaluations"],
    weaknesses=["never lengthens a step, and does not make s'y positive"],
    when="Newton steps, whose natural length is 1.",
    when_not="BFGS and conjugate gradients: they need a Wolfe search.",
)
armijo = backtracking()
