"""The search: the same points for every optimizer, halved on the way within each optimizer.

Only runs of one optimizer are compared here; that an optimizer starts slowly costs it nothing against others.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from thalweg.lab import statistics
from thalweg.lab.budget import EDGE_RUNS, ETA, LEAST_KEPT
from thalweg.lab.model import suggested
from thalweg.lab.plan import SEARCHED, Findings, Plan, Stages, Trial, ranked, score
from thalweg.lab.run import Run
from thalweg.lab.space import Side, points

Cohorts = dict[str, list[Trial]]


def search(plan: Plan, findings: Findings) -> Stages:
    """Quasi-random points, halved on the way; then what was saved by divergence; then beyond an edge."""
    budget = plan.budget
    sequence = points(2 * budget.points + EDGE_RUNS, plan.seed)
    first, extra, further = (
        sequence[: budget.points - budget.modelled],
        sequence[budget.points : budget.points + EDGE_RUNS],
        sequence[budget.points + EDGE_RUNS :],
    )
    yield from _halved(plan, findings, _placed(plan, findings, {name: first for name in plan.spaces}))
    for n in budget.rounds:
        asked = {
            name: suggested(space, findings.tried(name, *SEARCHED), plan.mode, n, plan.seed, plan.schedules)
            for name, space in plan.spaces.items()
        }
        yield from _halved(plan, findings, _placed(plan, findings, asked), least=1)
    yield from _saved(plan, findings, further)
    yield from _edge(plan, findings, extra)


def _placed(plan: Plan, findings: Findings, at: Mapping[str, Sequence[tuple[float, ...]]]) -> Cohorts:
    return {
        name: [
            plan.trial(name, findings.spaces[name].at(point), "search", schedule=plan.schedule_at(point))
            for point in asked
        ]
        for name, asked in at.items()
    }


def _by_turns(cohorts: Mapping[str, Sequence[Trial]]) -> list[Trial]:
    """Point by point over all optimizers."""
    rows = itertools.zip_longest(*cohorts.values())
    return [trial for row in rows for trial in row if trial is not None]


def _halved(plan: Plan, findings: Findings, cohorts: Cohorts, least: int = LEAST_KEPT, last: bool = False) -> Stages:
    """Successive halving: all runs to the first rung, the better ones to the next, the best to the end.

    `least` of each optimizer always go on. `last`: only the last rung.
    """
    levels = plan.budget.rungs if not last else min(plan.budget.rungs, 1)
    for level in range(levels, 0, -1):
        legs = {
            name: [replace(trial, until=rung(trial.steps, level)) for trial in trials]
            for name, trials in cohorts.items()
        }
        yield _by_turns(legs)
        cohorts = kept(plan, findings, legs, least)
        if not any(cohorts.values()):
            return
    yield _by_turns(cohorts)


def rung(steps: int, level: int) -> int:
    """The step of a rung: a third of the horizon at level 1, a ninth at level 2.

    >>> rung(900, 1), rung(900, 2)
    (300, 100)
    """
    return math.ceil(steps / ETA**level)


def kept(plan: Plan, findings: Findings, legs: Cohorts, least: int) -> Cohorts:
    """Who goes on from a rung: of every optimizer the same number, its own best.

    It is the top third, or more where an optimizer has runs within one standard deviation between seeds of its
    cut, but never more than half: the number is the largest that any optimizer needs, so that all get the same
    number of runs and steps. Optimizers are never compared with each other here. A run that diverged is out.
    """
    known = {trial: run for trial, run in findings.done if trial.until is not None}
    alive = {
        name: ranked([(leg, known[leg]) for leg in trials if leg in known], plan.mode) for name, trials in legs.items()
    }
    size = max(map(len, legs.values()), default=0)
    third, half = max(least, math.ceil(size / ETA)), max(least, math.ceil(size / 2))
    needed = third
    for name, runs in alive.items():
        if len(runs) > third:
            cut = score(runs[third - 1][1], plan.mode)
            spread = spread_at(plan, findings, legs[name][0].end / legs[name][0].steps)
            needed = max(needed, sum(score(run, plan.mode) <= cut + spread for _, run in runs))
    return {name: [replace(leg, until=None) for leg, _ in runs[: min(needed, half)]] for name, runs in alive.items()}


def spread_at(plan: Plan, findings: Findings, share: float) -> float:
    """The standard deviation between seeds at a share of the horizon, from the noise runs' curves."""
    runs = [(trial, run) for name in plan.spaces for trial, run in findings.of(name, "noise")]
    values = [value_at(run, share * trial.steps) for trial, run in runs if run.final is not None]
    return statistics.sd([v for v in values if v is not None])


def value_at(run: Run, step: float) -> float | None:
    """The metric of a run at a step, between the points of its curve by a line; None where the curve has none."""
    before = max((p for p in run.curve if p.step <= step), key=lambda p: p.step, default=None)
    after = min((p for p in run.curve if p.step >= step), key=lambda p: p.step, default=None)
    if before is None or after is None or before.metric is None or after.metric is None:
        return None
    if after.step == before.step:
        return before.metric
    return before.metric + (after.metric - before.metric) * (step - before.step) / (after.step - before.step)


def _saved(plan: Plan, findings: Findings, further: Sequence[tuple[float, ...]]) -> Stages:
    """What an optimizer saved because its runs diverged goes to further points of its own, whole runs."""
    given = {name: sum(t.end for t, _ in findings.tried(name, "search")) / plan.horizon(name) for name in plan.spaces}
    most = max(given.values())
    cohorts = _placed(plan, findings, {name: further[: int(most - own + 1e-9)] for name, own in given.items()})
    if any(cohorts.values()):
        yield _by_turns(cohorts)


def _edge(plan: Plan, findings: Findings, extra: Sequence[tuple[float, ...]]) -> Stages:
    """Where the best lr lies at an edge, one decade more; everybody gets the same number of further runs."""
    for name, space in plan.spaces.items():
        side = _side(plan, findings, name)
        if side is not None:
            findings.edges[name] = side
            findings.spaces[name] = space.extended(side)
            findings.notes.append(
                f"the best lr of {name} lay at the {side} edge of its range, which was extended by a decade"
            )
    if not findings.edges:
        return
    cohorts = {
        name: [
            plan.trial(
                name,
                space.beyond(point) if name in findings.edges else space.at(point),
                "edge",
                schedule=plan.schedule_at(point),
            )
            for point in extra
        ]
        for name, space in findings.spaces.items()
    }
    yield from _halved(plan, findings, cohorts, least=1, last=True)


def _side(plan: Plan, findings: Findings, name: str) -> Side | None:
    """The edge that the best lr lies at: near the end of the range, or with nothing tried between it and the end."""
    best = findings.best(name, plan.mode)
    if not best:
        return None
    lr = dict(best[0].hyper)["lr"]
    tried = [dict(trial.hyper)["lr"] for trial, _ in findings.tried(name, *SEARCHED)]
    return plan.spaces[name].side(lr) or ("low" if lr <= min(tried) else "high" if lr >= max(tried) else None)
