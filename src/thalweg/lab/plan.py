"""What the protocol knows: the plan that is fixed before the first run, trials, and what they came to."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from thalweg import schedule as schedules
from thalweg.lab.budget import Budget
from thalweg.lab.decide import Decision
from thalweg.lab.run import Half, Run
from thalweg.lab.space import Hyper, Side, Space
from thalweg.lab.statistics import Mode

SEARCHED = ("default", "search", "edge")  # the phases whose runs compete for being chosen
# Seeds: a user's seed owns a thousand; each purpose draws from a part of its own.
SEED_RANGE = 1000
DEFAULT = "warmup_cosine"
AT_DEFAULTS = "warmup_cosine(warmup=0.05)"  # the same, as it is called where the schedule is searched
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
    def setting(self) -> tuple[tuple[tuple[str, float], ...], str]:
        """What is searched: hyper-parameters and schedule."""
        return self.hyper, self.schedule

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
        steps: of every full run.
        seed: the user's.
        schedule: its name, the same for all; or "tuned": searched for every optimizer among the same.
        margin: differences that do not matter, or None for half the standard deviation between seeds.
        state: state numbers per parameter of each optimizer: which is cheaper, should they tie.
        horizons: steps of a full run of those optimizers that have their own: equal seconds, not equal steps.
    """

    spaces: Mapping[str, Space]
    budget: Budget
    mode: Mode
    steps: int
    seed: int = 0
    schedule: str = DEFAULT
    margin: float | None = None
    state: Mapping[str, float] = field(default_factory=dict)
    horizons: Mapping[str, int] = field(default_factory=dict)

    def horizon(self, optimizer: str) -> int:
        """The steps of a full run."""
        return self.horizons.get(optimizer, self.steps)

    @property
    def schedules(self) -> tuple[str, ...]:
        """Those among which the search chooses."""
        return schedules.CHOICES if self.schedule == schedules.TUNED else (self.schedule,)

    def schedule_at(self, point: Sequence[float]) -> str:
        """The schedule at a point of the sequence: the same for every optimizer, told by its last coordinate."""
        return self.schedules[int(point[-1] * len(self.schedules))]

    def again(self, trial: Trial, phase: str, number: int) -> Trial:
        """The settings of a trial with the `number`-th seed of another phase."""
        return self.trial(trial.optimizer, dict(trial.hyper), phase, number, trial.schedule)

    def trial(self, optimizer: str, hyper: Hyper, phase: str, number: int = 0, schedule: str | None = None) -> Trial:
        """Trial with the `number`-th seed of a phase; where no schedule is said, with warm-up and cosine."""
        of = "search" if phase in SEARCHED else phase
        seed = SEED_RANGE * self.seed + FIRST_SEED[of] + number
        data = "reports" if phase == "confirmation" else "selects"
        horizon, usual = self.horizon(optimizer), AT_DEFAULTS if self.schedule == schedules.TUNED else self.schedule
        return Trial(optimizer, tuple(hyper.items()), seed, horizon, data, schedule or usual, phase)


@dataclass
class Findings:
    """What is known so far; grows while the protocol runs, and is all there is after Ctrl-C."""

    done: Done = field(default_factory=list)
    spaces: dict[str, Space] = field(default_factory=dict)
    edges: dict[str, Side] = field(default_factory=dict)
    seed_sd: float | None = None
    promoted: list[str] = field(default_factory=list)
    chosen: dict[str, Trial] = field(default_factory=dict)
    decision: Decision | None = None
    notes: list[str] = field(default_factory=list)

    def of(self, optimizer: str, *phases: str) -> Done:
        """The full runs of an optimizer in some phases, in the order they were asked for."""
        return [(t, r) for t, r in self.done if t.optimizer == optimizer and t.phase in phases and t.end == t.steps]

    def tried(self, optimizer: str, *phases: str) -> Done:
        """Every run as far as it came, those that were pruned too, in the order they were asked for."""
        ended: dict[Trial, tuple[Trial, Run]] = {}
        for trial, run in self.done:
            if trial.optimizer == optimizer and trial.phase in phases:
                ended[replace(trial, until=None)] = (trial, run)  # a longer leg comes later
        return list(ended.values())

    def evenly_spread(self, optimizer: str, plan: Plan) -> Done:
        """The runs at the points of the sequence, as far as they came.

        Neither the one at the defaults, nor where a model looked, nor what came after that.
        """
        return self.tried(optimizer, "search")[: plan.budget.points - plan.budget.modelled]

    def best(self, optimizer: str, mode: Mode) -> tuple[Trial, Run] | None:
        """The best full run of an optimizer's search, or None if all diverged."""
        return next(iter(ranked(self.of(optimizer, *SEARCHED), mode)), None)


Stages = Generator[list[Trial], None, None]


def score(run: Run, mode: Mode) -> float:
    """Smaller is better; a run that diverged is worst."""
    if run.final is None:
        return float("inf")
    return run.final if mode == "min" else -run.final


def ranked(done: Done, mode: Mode) -> Done:
    """The runs that did not diverge, the best first; equals stay in the order they were asked for."""
    return sorted([d for d in done if d[1].final is not None], key=lambda d: score(d[1], mode))
