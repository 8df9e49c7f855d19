"""Hager and Zhang's line search: bracket by the slopes, then the double secant step."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from thalweg.minimize.arrays import Line
from thalweg.minimize.card import MethodCard
from thalweg.minimize.search import Refine, Search
from thalweg.minimize.search.wolfe import accepts

Trial = tuple[float, float, float]  # step, value, slope


def hager_zhang(
    delta: float = 0.1, sigma: float = 0.9, rho: float = 5.0, gamma: float = 0.66, trials: int = 50
) -> Search:
    """The search with the constants of the paper: theta is 0.5, a non-finite trial is shortened to a tenth."""
    accept = partial(accepts, c1=delta, c2=sigma, strong=False, delta=delta)
    return Search(accept, partial(refines, rho=rho, gamma=gamma, trials=trials), card)


def refines(at: Line, step: float, f: float, slope: float, rho: float, gamma: float, trials: int) -> Refine:
    """The steps that the search asks for after a trial that was refused."""
    left = trials
    low: Trial = (0.0, at.f, at.slope)
    trial: Trial = (step, f, slope)
    while not (math.isfinite(trial[1]) and math.isfinite(trial[2])):
        trial = yield from ask(0.1 * trial[0])
        left -= 1
        if left <= 0:
            return
    while trial[2] < 0 and trial[1] <= at.f + at.noise:  # bracket: B0 to B3
        low = trial
        step = rho * trial[0]
        trial = yield from ask(step)
        while not (math.isfinite(trial[1]) and math.isfinite(trial[2])):
            trial = yield from ask((low[0] + trial[0]) / 2 if trial[0] < step else 0.5 * (low[0] + step))
            left -= 1
            if left <= 0:
                return
        left -= 1
        if left <= 0:
            return
    high = trial
    if high[2] < 0:
        low, high = yield from halve(at, low, high)
    while left > 0:
        before = high[0] - low[0]
        a, b = low, high
        c = secant(low, high)
        low, high, new = yield from update(at, low, high, c)
        left -= 1
        if new is not None and new[0] == high[0]:
            low, high, _ = yield from update(at, low, high, secant(b, high))
            left -= 1
        elif new is not None and new[0] == low[0]:
            low, high, _ = yield from update(at, low, high, secant(a, low))
            left -= 1
        if high[0] - low[0] > gamma * before:
            low, high, _ = yield from update(at, low, high, (low[0] + high[0]) / 2)
            left -= 1
        if not low[0] < (low[0] + high[0]) / 2 < high[0]:
            return


def ask(step: float) -> Any:
    """Ask for one step, and put value and slope beside it."""
    f, slope = yield step
    return step, f, slope


def secant(a: Trial, b: Trial) -> float:
    """Where the line through two slopes is zero."""
    below = b[2] - a[2]
    return (a[0] * b[2] - b[0] * a[2]) / below if below else math.nan


def update(at: Line, low: Trial, high: Trial, step: float) -> Any:
    """U0 to U3: the bracket with one more point, and that point, or None where it lies outside."""
    if not low[0] < step < high[0]:
        return low, high, None
    trial = yield from ask(step)
    if trial[2] >= 0 and math.isfinite(trial[1]):
        return low, trial, trial
    if trial[1] <= at.f + at.noise and trial[2] < 0:
        return trial, high, trial
    low, high = yield from halve(at, low, trial)
    return low, high, None


def halve(at: Line, low: Trial, high: Trial) -> Any:
    """U3: the value rises between the two; bisect until the slope does."""
    for _ in range(50):
        middle = (low[0] + high[0]) / 2
        if not low[0] < middle < high[0]:
            break
        trial = yield from ask(middle)
        if trial[2] >= 0 and math.isfinite(trial[1]):
            return low, trial
        if trial[1] <= at.f + at.noise and trial[2] < 0:
            low = trial
        else:
            high = trial
    return low, high


card = MethodCard(
    title="Hager-Zhang",
    paper="Hager and Zhang, SIAM J. Optim. 16, 2005; ACM Trans. Math. Software 32, 2006 (CG_DESCENT)",
    formula="Wolfe or approximate Wolfe, bracketed by the slopes; secant^2",
    intuition="Near a minimum slopes have twice as many correct digits as values: bracket by them.",
    strengths=["the most robust of the three", "works down to the last digit"],
    weaknesses=["some evaluations more than the cubic one"],
    when="Where the cubic search fails.",
    when_not="Where evaluations are dear.",
)
hager_zhang_search = hager_zhang()
