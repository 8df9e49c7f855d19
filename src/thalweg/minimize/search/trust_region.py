"""How far a quadratic model is trusted: the radius after each trial step.

The radius grows where the model foretold the value well, and shrinks where it did not.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from thalweg.minimize.arrays import where
from thalweg.minimize.card import MethodCard


class Verdict(NamedTuple):
    """For each problem whether its trial is taken, and the radius afterwards: (...), (...)."""

    accepted: Any
    radius: Any


def judge(f: Any, trial: Any, foretold: Any, slope: Any, length: Any, radius: Any, eps: float) -> Verdict:
    """Compare what was gained with what was foretold.

    Args:
        f, trial: the value before and at the trial point, (...), float64 on the host.
        foretold: the decrease of the model, positive.
        slope: g's, the derivative along the step.
        length: the length of the step.
        radius: the radius before.
        eps: the rounding of one operation.
    """
    noise = 10 * eps * abs(f)  # near the minimum both differences are rounding: then the step is fine
    ratio = (f - trial + noise) / (foretold + noise)
    finite = np.isfinite(trial) & np.isfinite(ratio)
    # The minimum of the parabola through f, its slope, and the trial, as a share of the step.
    share = -slope / (2 * (trial - f - slope))
    share = where((share > 1 / 16) & (share < np.inf), np.minimum(share, 1 / 2), 1 / 16)
    shrunk = where(finite, share, 0.1) * where(length < np.inf, length, radius)
    grown = where(length >= 0.99 * radius, 2.5 * radius, radius)
    bad, good = ~finite | (ratio < 0.25), finite & (ratio > 0.75)
    return Verdict(finite & (ratio > 1e-4), where(bad, shrunk, where(good, grown, radius)))


card = MethodCard(
    title="trust region",
    paper="Conn, Gould and Toint, Trust-Region Methods, 2000, sections 17.1 and 17.4",
    formula="ratio = (f - f(x + s)) / (m(0) - m(s));  below 1/4 shrink, above 3/4 grow",
    intuition="Trust a model as far as it was right the last time.",
    strengths=["no line search: one evaluation a step", "negative curvature is used, not feared"],
    weaknesses=["a rejected step costs an evaluation"],
    when="Newton's method.",
    when_not="Where no Hessian or product with it is at hand.",
)
