"""The protocol: which trainings to run next, given what the last ones came to.

It asks and is answered, and trains nothing itself: `protocol` is a generator that yields stages of trials
and receives their runs. How they are run, one after the other, in processes, stacked, or looked up in a
store, is not its business. The phases are default, noise, search, edge, choice, confirmation (docs/lab.md).
"""

from __future__ import annotations

from collections.abc import Sequence

from thalweg.lab import statistics
from thalweg.lab.budget import CHOICE_CONFIGURATIONS, CHOICE_SEEDS, NOISE_SEEDS
from thalweg.lab.decide import Decision, decide
from thalweg.lab.plan import SEARCHED, Done, Findings, Plan, Stages, ranked, score
from thalweg.lab.run import Run
from thalweg.lab.search import search
from thalweg.lab.statistics import Mode

ALIKE = 3.0  # standard deviations between seeds within which settings count as hardly different


def protocol(plan: Plan, findings: Findings) -> Stages:
    """Yield the trials of one stage after the other; their runs must be in `findings.done` when it goes on."""
    findings.spaces = dict(plan.spaces)
    # Defaults first, then point by point: whenever it is stopped, every optimizer has had its share.
    yield [plan.trial(name, space.default, "default") for name, space in plan.spaces.items()]
    yield from _noise(plan, findings)
    yield from search(plan, findings)
    leaders = ranking(plan, findings)
    if not leaders:
        findings.notes.append("every run of every optimizer diverged")
        return
    if findings.seed_sd is None:
        yield from _noise(plan, findings)
    findings.promoted = promoted(plan, findings, leaders)
    yield from _choice(plan, findings)
    yield from _confirmation(plan, findings)


def _noise(plan: Plan, findings: Findings) -> Stages:
    """The spread between seeds, from the best of what has been run so far; nothing if all of that diverged."""
    leaders = ranking(plan, findings)
    best = findings.best(leaders[0], plan.mode) if leaders else None
    if best is None:
        return
    yield [plan.again(best[0], "noise", i) for i in range(NOISE_SEEDS)]
    findings.seed_sd = statistics.sd([r.final for _, r in findings.of(leaders[0], "noise") if r.final is not None])


# ---- who is confirmed, and how


def ranking(plan: Plan, findings: Findings) -> list[str]:
    """The optimizers with a finite run, by the best of their search."""
    best = {name: found for name in plan.spaces if (found := findings.best(name, plan.mode))}
    return sorted(best, key=lambda name: score(best[name][1], plan.mode))


def promoted(plan: Plan, findings: Findings, leaders: Sequence[str]) -> list[str]:
    """Who is confirmed: within two standard deviations of the leader, at least two, at most the budget's."""
    scores = [score(best[1], plan.mode) for name in leaders if (best := findings.best(name, plan.mode))]
    near = sum(score <= scores[0] + 2 * (findings.seed_sd or 0.0) for score in scores)
    return list(leaders[: min(max(near, 2), plan.budget.promoted)])


def _choice(plan: Plan, findings: Findings) -> Stages:
    """Between an optimizer's two best settings, fresh seeds choose: the search's own value is a lucky one."""
    contenders = {
        name: [t for t, _ in ranked(findings.of(name, *SEARCHED), plan.mode)[:CHOICE_CONFIGURATIONS]]
        for name in findings.promoted
    }
    yield [
        plan.again(trial, "choice", i)
        for i in range(CHOICE_SEEDS)
        for trials in contenders.values()
        for trial in trials
    ]
    for name, trials in contenders.items():
        runs = findings.of(name, "choice")
        totals = [
            sum(score(run, plan.mode) for trial, run in runs if trial.setting == contender.setting)
            for contender in trials
        ]
        findings.chosen[name] = trials[totals.index(min(totals))]


def _confirmation(plan: Plan, findings: Findings) -> Stages:
    """Fresh seeds, the same for all, in looks: leader and everyone not separated from it get more."""
    active, seeds = list(findings.promoted), 0
    for look, alpha in zip(plan.budget.looks, plan.budget.alphas, strict=True):
        yield [plan.again(findings.chosen[name], "confirmation", i) for i in range(seeds, look) for name in active]
        seeds = look
        decision = findings.decision = judge(plan, findings, alpha)
        if decision.outcome != "undecided" or len(active) < 2:
            return
        separated = {c.rival for c in decision.comparisons if c.verdict != "undecided"}
        active = [name for name in active if name not in separated]


def judge(plan: Plan, findings: Findings, alpha: float) -> Decision:
    """The decision on the confirmation runs so far; a run that diverged stands with the worst value."""
    runs = {name: [(t, r) for t, r in findings.of(name, "confirmation") if not r.failed] for name in findings.promoted}
    worst = worst_value([run for done in runs.values() for _, run in done], plan.mode)
    values = {
        name: {t.seed: worst if r.final is None else r.final for t, r in done} for name, done in runs.items() if done
    }
    return decide(
        values,
        mode=plan.mode,
        alpha=alpha,
        margin=plan.margin,
        failed={name: sum(r.diverged for _, r in done) for name, done in runs.items()},
        preference=cheapest_first(plan, findings),
        luck=search_lucks(plan, findings),
    )


def search_lucks(plan: Plan, findings: Findings) -> dict[str, float]:
    """How lucky each promoted optimizer may have been in its search, in the metric's units.

    Where at least half of its points stand within three standard deviations between seeds of the best, at the first
    rung, where all stand side by side, settings hardly matter, and there is no luck in finding one. Elsewhere it
    is how far the chosen setting stands from the best other one at the search's seed (statistics.search_luck), or on
    the half that reports at the seeds of the choice, whichever is more: where one half is at its best, and flat, the
    other may have a slope. At least it is one standard deviation: single seeds have chosen among settings that differ.
    """
    fresh = [findings.of(name, "confirmation") for name in findings.promoted]
    spread = statistics.pooled_sd([[r.final for _, r in done if r.final is not None] for done in fresh])
    lucks = {}
    for name in findings.promoted:
        side_by_side = _side_by_side(plan, findings, name)
        near = sum(value <= min(side_by_side) + ALIKE * spread for value in side_by_side)
        full = ranked(findings.of(name, *SEARCHED), plan.mode)
        chosen, others = [], []
        for trial, run in full:
            (chosen if trial.setting == findings.chosen[name].setting else others).append(score(run, plan.mode))
        alike = 2 * near >= len(side_by_side) or not chosen
        luck = 0.0 if alike else statistics.search_luck(chosen[0], others[:1])
        lucks[name] = 0.0 if alike else max(spread, luck, _reported_apart(findings, name))
    return lucks


def _reported_apart(findings: Findings, name: str) -> float:
    """How far the two settings between which was chosen are apart on the half that reports, in the mean."""
    sides: tuple[list[float], list[float]] = [], []
    for trial, run in findings.of(name, "choice"):
        if run.reported is not None:
            sides[trial.setting == findings.chosen[name].setting].append(run.reported)
    return abs(statistics.mean(sides[0]) - statistics.mean(sides[1])) if all(sides) else 0.0


def _side_by_side(plan: Plan, findings: Findings, name: str) -> list[float]:
    """The scores of the first search stage's runs where all of them ended; infinite where one diverged."""
    first: dict[tuple, tuple[int, float]] = {}
    for trial, run in findings.done:
        if trial.optimizer == name and trial.phase == "search":
            first.setdefault(trial.setting, (trial.end, score(run, plan.mode)))
    earliest = min((end for end, _ in first.values()), default=0)
    return [value for end, value in first.values() if end == earliest]


def worst_value(runs: Sequence[Run], mode: Mode) -> float:
    """What a diverged run counts where a number is needed: the worst of all final and untrained values."""
    seen = [v for run in runs for v in (run.final, run.untrained) if v is not None]
    return (min if mode == "max" else max)(seen, default=0.0)


def cheapest_first(plan: Plan, findings: Findings) -> list[str]:
    """The promoted by state per parameter, then by lr sensitivity: which to take of those that tie.

    Not by seconds: a measurement of time would make the recommendation differ from day to day.
    """

    def cost(name: str) -> tuple[float, float]:
        sensitivity = sensitivity_of(findings.evenly_spread(name, plan), plan.mode)
        return plan.state.get(name, 0.0), float("inf") if sensitivity is None else sensitivity

    return sorted(findings.promoted, key=cost)


def sensitivity_of(searched: Done, mode: Mode) -> float | None:
    """The lr sensitivity of an optimizer from runs evenly spread; one that was pruned counts as it was then."""
    untrained = next((r.untrained for _, r in searched if r.untrained is not None), None)
    if untrained is None:
        return None
    tried = [(dict(t.hyper)["lr"], r.final) for t, r in searched if not r.failed]
    return statistics.lr_sensitivity(tried, untrained, mode)
