"""The decision: winner, practical tie or undecided, from the confirmation runs of the promoted optimizers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from thalweg.lab import statistics
from thalweg.lab.statistics import Mode

Outcome = Literal["winner", "practical tie", "undecided", "stopped"]
Values = Mapping[str, Mapping[int, float]]  # optimizer -> seed -> final metric


@dataclass(frozen=True)
class Comparison:
    """The leader against one rival, on the seeds that both ran.

    `difference` is leader minus rival in the metric's own units, `low` and `high` its paired interval, `p` the plain
    and `p_adjusted` the adjusted p value; interval and p are adjusted together (statistics.step_down). `luck` is how
    far the search's luck may have moved the difference: the interval has been widened by it on both sides, and the p
    values are for a difference beyond it. `ahead` is the probability that the leader comes out better on one seed, from
    the share of the seeds, with its 95 % interval, which is this comparison's own (statistics.share_above).
    """

    rival: str
    difference: float
    low: float
    high: float
    p: float
    p_adjusted: float
    n: int
    verdict: Literal["better", "tie", "undecided"]
    luck: float = 0.0
    ahead: float = 0.5
    ahead_low: float = 0.0
    ahead_high: float = 1.0


@dataclass(frozen=True)
class Decision:
    """What the confirmation says.

    Attributes:
        outcome: winner, practical tie, undecided, or stopped (by Ctrl-C).
        leader: the best mean on fresh seeds.
        recommended: what to use: the leader, or in a tie the cheapest and least lr-sensitive of those tied.
        n: the leader's confirmation seeds.
        margin: differences up to here do not matter, in the metric's units.
        seed_sd: standard deviation between seeds, pooled over the confirmed optimizers.
        alpha: the error that this look spends over all rivals together.
        smallest_detectable_difference: the true difference that would have been found with 80 % power, given
            the n, the paired standard deviation and the strictest level; the largest over rivals.
        comparisons: one for each rival, the closest first.
        notes: what else a reader must know, one sentence each.
    """

    outcome: Outcome
    leader: str | None
    recommended: str | None
    n: int
    margin: float
    seed_sd: float
    alpha: float
    smallest_detectable_difference: float | None
    comparisons: tuple[Comparison, ...] = ()
    notes: tuple[str, ...] = ()


def decide(
    values: Values,
    *,
    mode: Mode,
    alpha: float,
    margin: float | None = None,
    failed: Mapping[str, int] | None = None,
    preference: Sequence[str] = (),
    luck: Mapping[str, float] | None = None,
) -> Decision:
    """Compare the leader with every rival on the seeds that both ran.

    Two-sided paired t tests, adjusted for the pairs among which the leader was found (statistics.step_down): the
    familywise `alpha` covers every rival that is called beaten, and with them a winner. A rival is beaten when its
    interval excludes 0 on the leader's side ("better"), and tied when the interval lies within the margin: a
    difference known to be too small to matter is a tie even where it is known not to be 0. All beaten: a
    winner. None undecided, but some tied: a practical tie.

    What is judged is the optimizer, tuned with this budget, and not the settings it happened to be tried with: the
    difference that is tested is the one beyond the larger `luck` of the two.

    A standard deviation is never taken below the metric's grain (the smallest gap between distinct values
    seen): equal differences of accuracies are not certainty.

    Args:
        values: the final metric of every confirmed optimizer by seed, at least one each; a run that diverged
            stands there with the worst value.
        mode: which way the metric is better.
        alpha: error over all rivals together.
        margin: see above. Default: half the standard deviation between seeds (at least half the grain).
        failed: optimizers with diverged confirmation runs, and how many; they cannot lead.
        luck: how far the best setting of each may lie from that of another search (statistics.search_luck).
            Default: 0 for all.
        preference: names from the cheapest on, to choose among those tied. Default: the better mean.
    """
    failed = {name: count for name, count in (failed or {}).items() if count}
    notes = tuple(f"{name} diverged on {count} of its confirmation seeds" for name, count in failed.items())
    everything = [v for by_seed in values.values() for v in by_seed.values()]
    grain = statistics.resolution(everything)
    spread = statistics.pooled_sd([list(by_seed.values()) for name, by_seed in values.items() if name not in failed])
    margin = max(spread, grain) / 2 if margin is None else margin
    leader = _leader(values, mode, set(failed))
    if leader is None:
        return Decision("undecided", None, None, 0, margin, spread, alpha, None, (), notes)
    n = len(values[leader])
    differences = {name: _differences(values[leader], values[name]) for name in values if name != leader}
    differences = {name: d for name, d in differences.items() if len(d) >= 2}
    if not differences:
        return Decision("undecided", leader, leader, n, margin, spread, alpha, None, (), notes)
    lucks = {name: max((luck or {}).get(each, 0.0) for each in (leader, name)) for name in differences}
    comparisons = _compared(differences, mode, alpha, margin, grain, lucks)
    pairs = math.comb(len(differences) + 1, 2)
    seen = max(
        lucks[name] + statistics.detectable(max(statistics.sd(d), grain), len(d), alpha / pairs)
        for name, d in differences.items()
    )
    verdicts = {c.verdict for c in comparisons}
    outcome, recommended = "winner", leader
    if "undecided" in verdicts:
        outcome = "undecided"
    elif "tie" in verdicts:
        outcome = "practical tie"
        tied = {leader, *(c.rival for c in comparisons if c.verdict == "tie")} - set(failed)
        recommended = next((name for name in preference if name in tied), leader)
    return Decision(outcome, leader, recommended, n, margin, spread, alpha, seen, comparisons, notes)


def _compared(
    differences: Mapping[str, list[float]],
    mode: Mode,
    alpha: float,
    margin: float,
    grain: float,
    lucks: Mapping[str, float],
) -> tuple[Comparison, ...]:
    """The leader's differences to each rival, tested together; the closest rival first."""
    sign = 1 if mode == "max" else -1
    ps = [statistics.t_test(_beyond(d, lucks[name]), grain) for name, d in differences.items()]
    judged = zip(ps, statistics.step_down(ps), statistics.step_down_levels(ps, alpha), strict=True)
    comparisons = []
    for (rival, d), (p, p_adjusted, level) in zip(differences.items(), judged, strict=True):
        mean, (low, high) = statistics.mean(d), statistics.t_interval(d, level, grain)
        low, high = low - lucks[rival], high + lucks[rival]
        if -margin <= low and high <= margin:
            verdict = "tie"
        else:
            verdict = "better" if sign * mean > 0 and p_adjusted < alpha else "undecided"
        ahead = statistics.share_above([sign * each for each in d])
        comparisons.append(Comparison(rival, mean, low, high, p, p_adjusted, len(d), verdict, lucks[rival], *ahead))
    return tuple(sorted(comparisons, key=lambda c: abs(c.difference)))


def _beyond(differences: Sequence[float], luck: float) -> list[float]:
    """The differences with their mean moved towards 0 by the luck, at most to 0."""
    mean = statistics.mean(differences)
    moved = math.copysign(min(luck, abs(mean)), mean)
    return [d - moved for d in differences]


def _leader(values: Values, mode: Mode, failed: set[str]) -> str | None:
    """The best mean among those that have run the most seeds and never diverged."""
    able = {name: by_seed for name, by_seed in values.items() if by_seed and name not in failed}
    most = max(map(len, able.values()), default=0)
    means = {name: statistics.mean(list(v.values())) for name, v in able.items() if len(v) == most}
    best = max if mode == "max" else min
    return best(means, key=means.__getitem__, default=None)


def _differences(leader: Mapping[int, float], rival: Mapping[int, float]) -> list[float]:
    return [leader[seed] - rival[seed] for seed in sorted(leader.keys() & rival.keys())]
