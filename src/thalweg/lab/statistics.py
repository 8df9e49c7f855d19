"""Statistics: small pure functions on lists of numbers. Nothing here knows what an optimizer is."""

from __future__ import annotations

import functools
import itertools
import math
import warnings
from collections.abc import Iterator, Sequence
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
    return math.fsum(w * v for w, v in zip(_middle(len(values)), sorted(values), strict=True))


def _middle(n: int) -> list[float]:
    """What each of n sorted values weighs in the mean of the middle half."""
    cut = n / 4
    return [max(min(i + 1, n - cut) - max(i, cut), 0) / (n / 2) for i in range(n)]


def interquartile_interval(values: Sequence[float], alpha: float = 0.05) -> tuple[float, float] | None:
    """BCa bootstrap interval (Efron 1987) for the interquartile mean at 1 - alpha, always the same for the same values.

    Only from ten values on, and where they differ: of fewer it is too narrow. (Of their mean it is also with ten and
    with twenty: at 95 % it covers 89 and 92 % under a normal distribution, where Student's, `t_interval`, covers 95.)
    """
    if len(values) < 10 or len(set(values)) == 1:
        return None

    def statistic(x: np.ndarray, axis: int) -> np.ndarray:
        return np.moveaxis(np.sort(x, axis), axis, -1) @ _middle(x.shape[axis])

    sample, random = (np.array(values, dtype=float),), np.random.default_rng(0)
    bootstrap = require("scipy.stats").bootstrap
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # nearly all values alike: there is no interval, and NaN says so
        done = bootstrap(sample, statistic, confidence_level=1 - alpha, method="BCa", rng=random)
    found = done.confidence_interval
    return (float(found.low), float(found.high)) if np.isfinite([found.low, found.high]).all() else None


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


def step_down(ps: Sequence[float]) -> list[float]:
    """p values of the best of several against each of the others, adjusted for their number, in their own order.

    Step by step as in Holm's method (1979), from the smallest p on. But whoever is best was picked from the same
    data, so that each pair of those that are still together may have come up: where s of them are, p is multiplied by
    the number of pairs, s (s - 1) / 2, and not by the number of rivals, s - 1. With one rival nothing is adjusted.
    Holm's own factors would call some of four equals worse in 7 to 8 % for 5 %, and some of eight in 10 to 12 %.

    >>> step_down([0.01, 0.04, 0.03])
    [0.06, 0.09, 0.09]
    """
    adjusted, least = [0.0] * len(ps), 0.0
    for i, pairs in _by_p(ps):
        least = max(least, min(1.0, pairs * ps[i]))
        adjusted[i] = least
    return adjusted


def step_down_levels(ps: Sequence[float], alpha: float) -> list[float]:
    """The error level at which `step_down` judges each p, so that intervals and decisions agree.

    That is alpha divided by the number of pairs; after the first that fails, all the rest stay at its level. The
    interval at 1 - level then excludes 0 exactly where the adjusted p is below alpha.

    >>> step_down_levels([0.005, 0.04, 0.015], 0.06)
    [0.01, 0.06, 0.02]
    """
    levels, failed = [0.0] * len(ps), None
    for i, pairs in _by_p(ps):
        levels[i] = failed if failed is not None else alpha / pairs
        if ps[i] >= levels[i] and failed is None:
            failed = levels[i]
    return levels


def _by_p(ps: Sequence[float]) -> Iterator[tuple[int, int]]:
    """The places of the p values, the smallest first, with the pairs among the best and those not passed yet."""
    for rank, i in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        yield i, math.comb(len(ps) - rank + 1, 2)


def share_above(differences: Sequence[float], alpha: float = 0.05) -> tuple[float, float, float]:
    """The share of differences above 0, ties counted half, with Wilson's interval (1927) at 1 - alpha.

    P(A > B) from seeds that both ran. Wilson's interval covers what it says for shares of five, also at 0 and 1.

    >>> [round(v, 2) for v in share_above([0.3, 0.1, 0.2, 0.0, 0.4])]
    [0.9, 0.46, 0.99]
    """
    n, z = len(differences), float(require("scipy.stats").norm.ppf(1 - alpha / 2))
    share = math.fsum(0.5 if d == 0 else float(d > 0) for d in differences) / n
    centre, half = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    return share, max(0.0, (centre - half) / (1 + z * z / n)), min(1.0, (centre + half) / (1 + z * z / n))


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


@functools.cache
def _t(share: float, freedom: int) -> float:
    return float(require("scipy.stats").t.ppf(share, freedom))
