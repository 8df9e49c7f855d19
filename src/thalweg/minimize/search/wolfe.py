"""The Wolfe conditions, weak, strong or approximate, by a safeguarded cubic.

Accepted is a step at which the value has fallen by a share of what the slope promised and the slope has
flattened; or, where values no longer differ beyond rounding, one whose slope alone says so (Hager and Zhang
2005). The second is what "precision loss" in other libraries lacks.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from thalweg.minimize.arrays import Line
from thalweg.minimize.card import MethodCard
from thalweg.minimize.search import Refine, Search


def accepts(at: Line, step: Any, f: Any, slope: Any, c1: float, c2: float, strong: bool, delta: float = 0.1) -> Any:
    """The Wolfe conditions or the approximate ones, for numbers or arrays; NaN is never accepted."""
    steep = c2 * at.slope  # negative
    if strong:
        falls = (f <= at.f + c1 * step * at.slope) | (f <= at.f + at.noise)
        return falls & (slope >= steep) & (slope <= -steep) & (f > -math.inf)
    falls = f <= at.f + c1 * step * at.slope
    nearly = (f <= at.f + at.noise) & (slope <= (2 * delta - 1) * at.slope)
    return (falls | nearly) & (slope >= steep) & (f > -math.inf)


def cubic_minimum(a: float, fa: float, sa: float, b: float, fb: float, sb: float) -> float:
    """Where the cubic with these values and slopes at a and b has its minimum; NaN where it has none."""
    width = b - a
    m = sa + sb - 3 * (fb - fa) / width
    under = m * m - sa * sb
    if not under >= 0:
        return math.nan
    root = math.copysign(math.sqrt(under), width)
    below = sb - sa + 2 * root
    return b - width * (sb + root - m) / below if below else math.nan


def wolfe(c1: float = 1e-4, c2: float = 0.9, strong: bool = False, trials: int = 40) -> Search:
    """The search with constants `c1` and `c2`, at most `trials` further steps; `strong` bounds a rising slope, too."""
    return Search(partial(accepts, c1=c1, c2=c2, strong=strong), partial(refines, c1=c1, trials=trials), card)


def refines(at: Line, step: float, f: float, slope: float, c1: float, trials: int) -> Refine:
    """The steps that the search asks for after a trial that was refused."""
    low, high = (0.0, at.f, at.slope), None  # low: known to fall; high: known to lie beyond the valley
    width = math.inf
    for _ in range(trials):
        trial = (step, f, slope)
        if not (math.isfinite(f) and math.isfinite(slope)):
            high = (step, math.inf, math.nan)
        elif slope >= 0 or f > max(at.f + c1 * step * at.slope, min(at.f, low[1]) + at.noise):
            high = trial
        else:
            low = trial
        if high is None:
            step = longer(low, at)
        else:
            step = between(low, high)
            if high[0] - low[0] > 0.66 * width:
                step = (low[0] + high[0]) / 2 if math.isfinite(high[1]) else step
            width = high[0] - low[0]
            if not low[0] < step < high[0]:
                return  # no number is left between the two
        f, slope = yield step


def longer(low: tuple[float, float, float], at: Line) -> float:
    """A step beyond the last, which was too short: the cubic's, 1.1 to 10 times as long."""
    step, f, slope = low
    best = cubic_minimum(0.0, at.f, at.slope, step, f, slope)
    return min(max(best, 1.1 * step), 10 * step) if best > step else 10 * step


def between(low: tuple[float, float, float], high: tuple[float, float, float]) -> float:
    """A step inside the bracket, the cubic's, at least 5 % of it away from its ends."""
    (a, fa, sa), (b, fb, sb) = low, high
    if not math.isfinite(fb):
        return 0.1 * b if a == 0 else (a + b) / 2
    if abs(fb - fa) <= 1e-13 * abs(fa) and sb > 0:  # the values are rounding: trust the slopes
        best = a - sa * (b - a) / (sb - sa)
    else:
        best = cubic_minimum(a, fa, sa, b, fb, sb)
    if not math.isfinite(best):
        return (a + b) / 2
    return min(max(best, a + 0.05 * (b - a)), b - 0.05 * (b - a))


card = MethodCard(
    title="Wolfe or approximate Wolfe, safeguarded cubic",
    paper="Wolfe 1969; Nocedal and Wright 2006, section 3.5; Hager and Zhang, SIAM J. Optim. 16, 2005 (approximate)",
    formula=(
        "f <= f0 + c1 a s0 and s >= c2 s0 (strong: |s| <= c2 |s0|),  "
        "or  f <= f0 + noise and c2 s0 <= s <= (2 delta - 1) s0"
    ),
    intuition="Far enough that the slope has flattened, not so far that the value stops falling.",
    strengths=["few evaluations", "makes s'y positive, so that BFGS stays sound", "works down to the last digit"],
    weaknesses=["needs the gradient at every trial"],
    when="BFGS and L-BFGS with c2 = 0.9, conjugate gradients with c2 = 0.2 and strong.",
    when_not="A noisy function.",
)
loose_wolfe = wolfe()
sharp_wolfe = wolfe(c2=0.2, strong=True)
