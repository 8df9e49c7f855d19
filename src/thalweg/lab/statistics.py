"""Statistics: small pure functions on lists of numbers. Nothing here knows what an optimizer is."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from thalweg.extras import require

Mode = Literal["min", "max"]


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean."""
    return math.fsum(values) / len(values)


def sd(values: Sequence[float]) -> float:
    """The standard deviation of a sample (n - 1 in the denominator); 0 for fewer than two values."""
    if len(values) < 2:
        return 0.0
    centre = mean(values)
    return math.sqrt(math.fsum((v - centre) ** 2 for v in values) / (len(values) - 1))


def pooled_sd(samples: Sequence[Sequence[float]]) -> float:
    """The standard deviation within samples, each around its own mean; 0 where none has two values."""
    freedom = sum(len(s) - 1 for s in samples if len(s) > 1)
    if freedom == 0:
        return 0.0
    return math.sqrt(math.fsum(sd(s) ** 2 * (len(s) - 1) for s in samples if len(s) > 1) / freedom)


def resolution(values: Sequence[float]) -> float:
    """The smallest gap between distinct values: the grain of an accuracy on few rows; 0 if all are equal."""
    distinct = sorted(set(values))
    return min((b - a for a, b in itertools.pairwise(distinct)), default=0.0)


def interquartile_mean(values: Sequence[float]) -> float:
    """The mean of the middle half; values that straddle a quartile count in part.

    >>> interquartile_mean([1, 2, 3, 4, 100])  # a quarter of five values is one and a quarter
    3.0
    """
    n = len(values)
    cut = n / 4
    weights = [min(i + 1, n - cut) - max(i, cut) for i in range(n)]
    return math.fsum(max(w, 0) * v for w, v in zip(weights, sorted(values), strict=True)) / (n / 2)


def t_interval(values: Sequence[float], alpha: float, floor: float = 0.0) -> tuple[float, float]:
    """Student's interval for the mean at confidence 1 - alpha.

    `floor` is the least standard deviation that is believed: five equal accuracies say that the spread is
    below the metric's grain, not that it is 0. Needs two values.
    """
    half = _t(1 - alpha / 2, len(values) - 1) * max(sd(values), floor) / math.sqrt(len(values))
    return mean(values) - half, mean(values) + half


def t_test(differences: Sequence[float], floor: float = 0.0) -> float:
    """Two-sided p of paired differences against 0; `floor` as in `t_interval`."""
    n, spread, centre = len(differences), max(sd(differences), floor), mean(differences)
    if spread == 0:
        return 1.0 if centre == 0 else 0.0
    return float(2 * require("scipy.stats").t.sf(abs(centre) * math.sqrt(n) / spread, n - 1))


def holm(ps: Sequence[float]) -> list[float]:
    """p values adjusted for their number by Holm's step-down method (Holm 1979), in their own order.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    adjusted, least = [0.0] * len(ps), 0.0
    for rank, i in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        least = max(least, min(1.0, (len(ps) - rank) * ps[i]))
        adjusted[i] = least
    return adjusted


def holm_levels(ps: Sequence[float], alpha: float) -> list[float]:
    """The error level at which Holm's method judges each p, so that intervals and decisions agree.

    The i-th smallest of m is judged at alpha / (m - i + 1); after the first that fails, all the rest stay at
    its level. The interval at 1 - level then excludes 0 exactly where the adjusted p is below alpha.

    >>> holm_levels([0.01, 0.04, 0.03], 0.06)
    [0.02, 0.03, 0.03]
    """
    levels, failed = [0.0] * len(ps), None
    for rank, i in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        levels[i] = failed if failed is not None else alpha / (len(ps) - rank)
        if ps[i] >= levels[i] and failed is None:
            failed = levels[i]
    return levels


def detectable(spread: float, n: int, alpha: float, power: float = 0.8) -> float:
    """The smallest true mean of n paired differences that the t test at `alpha` finds with that power.

    `spread` is the standard deviation of the differences; the answer is in its units, exact under normal
    differences (noncentral t, both tails).
    """
    return spread * _detectable_effect(n, alpha, power)


@functools.cache
def _detectable_effect(n: int, alpha: float, power: float) -> float:
    stats = require("scipy.stats")
    root, critical = math.sqrt(n), _t(1 - alpha / 2, n - 1)
    # The noncentral t by its definition, averaged over quantiles of the sample's spread: scipy.stats.nct is NaN
    # in places that are met here (n = 20, alpha = 0.01).
    shares = (np.arange(4000) + 0.5) / 4000
    threshold = critical * np.sqrt(stats.chi2.ppf(shares, n - 1) / (n - 1))

    def found(effect: float) -> float:
        above, below = stats.norm.sf(threshold - effect * root), stats.norm.cdf(-threshold - effect * root)
        return float(np.mean(above + below))

    high = (critical + 2) / root
    while found(high) < power:
        high *= 1.5
    return float(require("scipy.optimize").brentq(lambda effect: found(effect) - power, 0, high))


def spearman(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Spearman's rank correlation; None for fewer than three pairs, or where one side is constant.

    >>> spearman([(1, 10), (2, 30), (3, 20)])
    0.5
    """
    if len(pairs) < 3 or any(len(set(side)) == 1 for side in zip(*pairs, strict=True)):
        return None
    return float(round(require("scipy.stats").spearmanr(*zip(*pairs, strict=True)).statistic, 12))


def expected_best(values: Sequence[float], mode: Mode) -> list[float]:
    """The expected best of n of these values drawn without replacement, for n = 1, 2, ...: the tuning curve.

    Exact: of the C(N, n) subsets, C(N - i, n - 1) have the i-th best as their best.

    >>> expected_best([1.0, 2.0, 3.0], "min")
    [2.0, 1.3333333333333333, 1.0]
    """
    best_first, count = sorted(values, reverse=mode == "max"), len(values)
    return [
        math.fsum(v * (math.comb(count - i, n - 1) / math.comb(count, n)) for i, v in enumerate(best_first, 1))
        for n in range(1, count + 1)
    ]


def search_luck(chosen: float, others: Sequence[float]) -> float:
    """How far the chosen setting may lie from what another search would have found: its distance to the best other.

    Had the search missed the chosen setting, that one would have stood for the optimizer. Points h apart around a
    quadratic optimum, the best of them u <= h / 2 away: another search is behind by at most (h^2 / 4 - u^2), the second
    best of this one by (h^2 - 2 h u), which is never less. Towards an edge beyond which it goes on, both are the
    slope times a distance. benchmarks/false_winners.py tries it. 0 where there is no other.

    Example:
        >>> search_luck(1.0, [3.0, 1.5, 5.0])
        0.5
    """
    return min((abs(value - chosen) for value in others), default=0.0)


def lr_sensitivity(
    tried: Sequence[tuple[float, float | None]], untrained: float, mode: Mode, decades: float = 3.0
) -> float | None:
    """How much worse than the best a learning rate within three decades around it is, on average.

    Wortsman et al. (arXiv:2309.14322): the mean of ``min(value(lr), untrained) - best`` over learning rates
    evenly spread in the logarithm. In the metric's units, 0 at best, whichever way the metric is better.

    Args:
        tried: pairs of lr and value; None for a run that diverged, which counts as untrained.
        untrained: the metric before the first step.
        mode: which way the metric is better.
        decades: width of the window, centred on the best lr.

    Returns:
        None with fewer than three learning rates in the window, or no finite value.
    """
    sign = 1 if mode == "min" else -1
    losses = [(lr, sign * untrained if v is None else min(sign * v, sign * untrained)) for lr, v in tried]
    finite = [(sign * v, lr) for lr, v in tried if v is not None]
    if not finite:
        return None
    best, centre = min(finite)
    near = [loss for lr, loss in losses if abs(math.log10(lr / centre)) <= decades / 2]
    return max(0.0, mean(near) - best) if len(near) >= 3 else None


def _t(share: float, freedom: int) -> float:
    return float(require("scipy.stats").t.ppf(share, freedom))
