"""The protocol: which trainings to run next, given what the last ones came to.

It asks and is answered, and trains nothing itself: `protocol` is a generator that yields stages of trials
and receives their runs. How they are run, one after the other, in processes, stacked, or looked up in a
store, is not its business. The stages are default, search, edge, noise, choice, confirmation (docs/lab.md).
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field

from thalweg.lab import statistics
from thalweg.lab.budget import CHOICE_CONFIGURATIONS, CHOICE_SEEDS, EDGE_RUNS, NOISE_SEEDS, Budget
from thalweg.lab.decide import Decision, decide
from thalweg.lab.space import Hyper, Side, Space, points
from thalweg.lab.statistics import Mode
from thalweg.lab.train import Half, Run

SEARCHED = ("default", "search", "edge")  # the phases whose runs compete for being chosen
# Seeds: a user's seed owns a thousand; each purpose draws from a part of its own.
SEED_RANGE = 1000
FIRST_SEED = {"search": 0, "noise": 100, "choice": 200, "confirmation": 300}


@dataclass(frozen=True)
class Trial:
    """A run to be made. It is known by what it is; the phase only says why it was asked for.

    `hyper` is spelled as the rule spells it (beta1, not betas), `data` is the half it is measured on. `steps` is
    the horizon, for which the schedule is made; a trial with `until` is a leg that ends, and is measured, there,
    and may be followed by a longer leg of the same run. Its run comes to what it has from step 0 on.
    """

    optimizer: str
    hyper: tuple[tuple[str, float], ...]
    seed: int
    steps: int
    data: Half
    schedule: str
    phase: str = field(compare=False)
    until: int | None = None

    @property
    def end(self) -> int:
        """The step after which it is measured."""
        return self.steps if self.until is None else self.until


Done = list[tuple[Trial, Run]]


@dataclass(frozen=True)
class Plan:
    """What is fixed before the first run.

    Attributes:
        spaces: of each optimizer, in the order of the candidates.
        budget: how much each gets.
        mode: which way the metric is better.
        steps: of every run.
        seed: the user's.
        schedule: its name, the same for all.
        margin: differences that do not matter, or None for half the standard deviation between seeds.
        state: state numbers per parameter of each optimizer: which is cheaper, should they tie.
    """

    spaces: Mapping[str, Space]
    budget: Budget
    mode: Mode
    steps: int
    seed: int = 0
    schedule: str = "warmup_cosine"
    margin: float | None = None
    state: Mapping[str, float] = field(default_factory=dict)

    def trial(self, optimizer: str, hyper: Hyper, phase: str, number: int = 0) -> Trial:
        """Trial with the `number`-th seed of a phase."""
        of = "search" if phase in SEARCHED else phase
        seed = SEED_RANGE * self.seed + FIRST_SEED[of] + number
        data = "reports" if phase == "confirmation" else "selects"
        return Trial(optimizer, tuple(hyper.items()), seed, self.steps, data, self.schedule, phase)


@dataclass
class Findings:
    """What is known so far; grows while the protocol runs, and is all there is after Ctrl-C."""

    done: Done = field(default_factory=list)
    spaces: dict[str, Space] = field(default_factory=dict)
    edges: dict[str, Side] = field(default_factory=dict)
    seed_sd: float | None = None
    promoted: list[str] = field(default_factory=list)
    chosen: dict[str, Hyper] = field(default_factory=dict)
    decision: Decision | None = None
    notes: list[str] = field(default_factory=list)

    def of(self, optimizer: str, *phases: str) -> Done:
        """The runs of an optimizer in some phases, in the order they were asked for."""
        return [(t, r) for t, r in self.done if t.optimizer == optimizer and t.phase in phases]

    def best(self, optimizer: str, mode: Mode) -> tuple[Trial, Run] | None:
        """The best run of an optimizer's search, or None if all diverged."""
        return next(iter(_ranked(self.of(optimizer, *SEARCHED), mode)), None)


def protocol(plan: Plan, findings: Findings) -> Generator[list[Trial], None, None]:
    """Yield the trials of one stage after the other; their runs must be in `findings.done` when it goes on."""
    findings.spaces = dict(plan.spaces)
    # Defaults first, then point by point: whenever it is stopped, every optimizer has had its share.
    yield [plan.trial(name, space.default, "default") for name, space in plan.spaces.items()]
    sequence = points(plan.budget.points + EDGE_RUNS)
    yield [
        plan.trial(name, space.at(point), "search")
        for point in sequence[: plan.budget.points]
        for name, space in plan.spaces.items()
    ]
    yield from _edge(plan, findings, sequence[plan.budget.points :])
    leaders = ranking(plan, findings)
    if not leaders:
        findings.notes.append("every run of every optimizer diverged")
        return
    best = findings.best(leaders[0], plan.mode)
    assert best is not None  # a leader has one
    yield [plan.trial(leaders[0], dict(best[0].hyper), "noise", i) for i in range(NOISE_SEEDS)]
    findings.seed_sd = statistics.sd([r.final for _, r in findings.of(leaders[0], "noise") if r.final is not None])
    findings.promoted = promoted(plan, findings, leaders)
    yield from _choice(plan, findings)
    yield from _confirmation(plan, findings)


def _edge(plan: Plan, findings: Findings, extra: Sequence[tuple[float, ...]]) -> Generator[list[Trial], None, None]:
    """Where the best lr lies at an edge, one decade more; everybody gets the same number of further runs."""
    for name, space in plan.spaces.items():
        best = findings.best(name, plan.mode)
        side = space.side(dict(best[0].hyper)["lr"]) if best else None
        if side is not None:
            findings.edges[name] = side
            findings.spaces[name] = space.extended(side)
            findings.notes.append(
                f"the best lr of {name} lay at the {side} edge of its range, which was extended by a decade"
            )
    if not findings.edges:
        return
    yield [
        plan.trial(name, space.beyond(point) if name in findings.edges else space.at(point), "edge")
        for point in extra
        for name, space in findings.spaces.items()
    ]


def ranking(plan: Plan, findings: Findings) -> list[str]:
    """The optimizers with a finite run, by the best of their search."""
    best = {name: found for name in plan.spaces if (found := findings.best(name, plan.mode))}
    return sorted(best, key=lambda name: _score(best[name][1], plan.mode))


def promoted(plan: Plan, findings: Findings, leaders: Sequence[str]) -> list[str]:
    """Who is confirmed: within two standard deviations of the leader, at least two, at most the budget's."""
    scores = [_score(best[1], plan.mode) for name in leaders if (best := findings.best(name, plan.mode))]
    near = sum(score <= scores[0] + 2 * (findings.seed_sd or 0.0) for score in scores)
    return list(leaders[: min(max(near, 2), plan.budget.promoted)])


def _choice(plan: Plan, findings: Findings) -> Generator[list[Trial], None, None]:
    """Between an optimizer's two best settings, fresh seeds choose: the search's own value is a lucky one."""
    contenders = {
        name: [t for t, _ in _ranked(findings.of(name, *SEARCHED), plan.mode)[:CHOICE_CONFIGURATIONS]]
        for name in findings.promoted
    }
    yield [
        plan.trial(name, dict(trial.hyper), "choice", i)
        for i in range(CHOICE_SEEDS)
        for name, trials in contenders.items()
        for trial in trials
    ]
    for name, trials in contenders.items():
        runs = findings.of(name, "choice")
        totals = [
            sum(_score(run, plan.mode) for trial, run in runs if trial.hyper == contender.hyper) for contender in trials
        ]
        findings.chosen[name] = dict(trials[totals.index(min(totals))].hyper)


def _confirmation(plan: Plan, findings: Findings) -> Generator[list[Trial], None, None]:
    """Fresh seeds, the same for all, in looks: leader and everyone not separated from it get more."""
    active, seeds = list(findings.promoted), 0
    for look, alpha in zip(plan.budget.looks, plan.budget.alphas, strict=True):
        yield [
            plan.trial(name, findings.chosen[name], "confirmation", i) for i in range(seeds, look) for name in active
        ]
        seeds = look
        decision = findings.decision = judge(plan, findings, alpha)
        if decision.outcome != "undecided" or len(active) < 2:
            return
        separated = {c.rival for c in decision.comparisons if c.verdict != "undecided"}
        active = [name for name in active if name not in separated]


def judge(plan: Plan, findings: Findings, alpha: float) -> Decision:
    """The decision on the confirmation runs so far; a run that diverged stands with the worst value."""
    runs = {name: findings.of(name, "confirmation") for name in findings.promoted}
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
    )


def worst_value(runs: Sequence[Run], mode: Mode) -> float:
    """What a diverged run counts where a number is needed: the worst of all final and untrained values."""
    seen = [v for run in runs for v in (run.final, run.curve[0].metric) if v is not None]
    return (min if mode == "max" else max)(seen, default=0.0)


def cheapest_first(plan: Plan, findings: Findings) -> list[str]:
    """The promoted by state per parameter, then by lr sensitivity: which to take of those that tie.

    Not by seconds: a measurement of time would make the recommendation differ from day to day.
    """

    def cost(name: str) -> tuple[float, float]:
        sensitivity = sensitivity_of(findings.of(name, *SEARCHED), plan.mode)
        return plan.state.get(name, 0.0), float("inf") if sensitivity is None else sensitivity

    return sorted(findings.promoted, key=cost)


def sensitivity_of(searched: Done, mode: Mode) -> float | None:
    """The lr sensitivity of an optimizer from the runs of its search."""
    untrained = next((r.curve[0].metric for _, r in searched if r.curve[0].metric is not None), None)
    if untrained is None:
        return None
    tried = [(dict(t.hyper)["lr"], r.final) for t, r in searched]
    return statistics.lr_sensitivity(tried, untrained, mode)


def _score(run: Run, mode: Mode) -> float:
    """Smaller is better; a run that diverged is worst."""
    if run.final is None:
        return float("inf")
    return run.final if mode == "min" else -run.final


def _ranked(done: Done, mode: Mode) -> Done:
    """The runs that did not diverge, the best first; equals stay in the order they were asked for."""
    return sorted([d for d in done if d[1].final is not None], key=lambda d: _score(d[1], mode))
