"""What is measured before the first run: what a step costs, and whether trials are trained together.

It is measured where the runs are made, in a process that can be ended: a task that hangs in its first steps hangs
nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from thalweg import schedule as schedules
from thalweg.lab import fingerprint
from thalweg.lab.candidates import Candidate
from thalweg.lab.cost import Cost, cost_of
from thalweg.lab.events import Perform, silent
from thalweg.lab.plan import Plan, Trial
from thalweg.lab.run import Run
from thalweg.lab.store import Decided
from thalweg.lab.task import Task
from thalweg.lab.train import Configure
from thalweg.lab.way import MEMBER_STEPS, Way, decide

PATIENCE, TIMES = 60.0, 20  # a run hangs that takes longer than a minute, and 20 times what it should take
UNKNOWN = 300.0  # and where nobody knows yet what it should take


@dataclass(frozen=True, eq=False)
class Measurement:
    """A question to a process of the lab: it calls `measure(task, candidate, *given)`, for so many seconds at most."""

    optimizer: str
    measure: Callable[..., dict[str, Any]]
    given: tuple[Any, ...]
    seconds: float


def costs_of(
    perform: Perform, competitors: Sequence[Candidate], plan: Plan, decided: Decided, timeout: float | None
) -> dict[str, Cost]:
    """Of a step of every optimizer, one after the other; who could not be measured is left out.

    Measured once: a comparison that goes on, or is repeated, decides by the same numbers.
    """
    seconds = UNKNOWN if timeout is None else max(PATIENCE, timeout)
    costs = {}
    for c in competitors:
        asked = Measurement(c.name, _cost, (plan,), seconds)
        name = f"cost of {c.name} {fingerprint.of_function(c.rule)}"
        found = decided(name, lambda asked=asked: _answer(perform, asked))
        if "error" not in found:  # its runs will fail as well, and say so
            costs[c.name] = Cost(**found)
    return costs


def way_of(
    perform: Perform,
    competitors: Sequence[Candidate],
    plan: Plan,
    costs: Mapping[str, Cost],
    decided: Decided,
    jobs: int,
) -> Way:
    """Whether trials are trained together: tried with the first candidate that is no minimizer."""
    candidate = next((c for c in competitors if not c.minimizes), None)

    def measured() -> dict[str, Any]:
        if candidate is None:
            return asdict(Way(why="there are only minimizers"))
        if candidate.name not in costs:
            return asdict(Way(why="its steps could not be timed"))
        seconds = max(PATIENCE, TIMES * MEMBER_STEPS * costs[candidate.name].step)
        found = _answer(perform, Measurement(candidate.name, _way, (plan, jobs, decide), seconds))
        return asdict(Way(why=found["error"])) if "error" in found else found

    return Way(**decided("together or one after the other", measured))


def _answer(perform: Perform, asked: Any) -> dict[str, Any]:
    [answer] = perform([asked], silent)
    return {"error": answer.error} if isinstance(answer, Run) else answer


def _configure(candidate: Candidate, plan: Plan) -> Configure:
    """At the defaults, with the first of the schedules: a step costs the same with any."""
    return candidate.configure(plan.spaces[candidate.name].default, plan.schedules[0])


def _cost(task: Task, candidate: Candidate, plan: Plan) -> dict[str, Any]:
    return asdict(cost_of(task, _configure(candidate, plan), 1000 * plan.seed))


def _way(task: Task, candidate: Candidate, plan: Plan, jobs: int, decide: Callable[..., Way]) -> dict[str, Any]:
    find = schedules.find(candidate.schedule(plan.schedules[0]))
    return asdict(decide(task, _configure(candidate, plan), find, plan.steps, 1000 * plan.seed, jobs))


def limits(costs: Mapping[str, Cost], timeout: float | None) -> Callable[[Sequence[Trial]], float]:
    """Seconds that trials which are trained as one, or one alone, may take: so many that only what hangs needs them.

    That is as long as one of them may take, or `TIMES` what all together should take one after the other; never longer
    than each on its own. `costs` may be filled later.
    """

    def limit(trials: Sequence[Trial]) -> float:
        known = [costs.get(trial.optimizer) for trial in trials]
        own = PATIENCE if timeout is None else timeout
        if None in known:
            return len(trials) * (UNKNOWN if timeout is None else timeout)
        should = TIMES * sum(cost.run(trial.end) for trial, cost in zip(trials, known, strict=True) if cost)
        return max(own, should) if timeout is None else max(own, min(should, len(trials) * timeout))

    return limit
