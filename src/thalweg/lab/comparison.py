"""`compare`: which optimizer, with which settings, is best on this task?"""

from __future__ import annotations

import importlib.util
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, chdir, nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from thalweg import schedule as schedules
from thalweg.extras import locate, require
from thalweg.lab import budget as budgets
from thalweg.lab import cluster as clusters
from thalweg.lab import fingerprint, ranges
from thalweg.lab.arguments import recorded
from thalweg.lab.budget import Amount, Budget
from thalweg.lab.candidates import Candidate, candidates
from thalweg.lab.chunks import Stacking, Work, limited
from thalweg.lab.cost import Cost
from thalweg.lab.events import Event, Finished, Planned, Progress, Stage, Stopped, silent
from thalweg.lab.faults import retried, stop_if_hopeless
from thalweg.lab.loading import load_task
from thalweg.lab.measured import costs_of, limits, way_of
from thalweg.lab.plan import Findings, Plan
from thalweg.lab.pool import Perform, Trainer, processes, solo
from thalweg.lab.protocol import judge, protocol
from thalweg.lab.result import Result
from thalweg.lab.states import States
from thalweg.lab.store import Store, StoreError, opened, remembered
from thalweg.lab.summary import summary
from thalweg.lab.task import Task
from thalweg.lab.train import check_exact
from thalweg.lab.way import Way
from thalweg.signature import check_flag

TUNED = 3  # alone, so many hyper-parameters are searched as by three times the points in a comparison


def compare(
    task: Task | str | Path,
    optimizers: str | Iterable[str] | None = None,
    *,
    budget: str | Budget = "quick",
    points: int | None = None,
    steps: int | None = None,
    seed: int = 0,
    jobs: int | None = None,
    rules: Sequence[str | Path | Callable] = (),
    schedule: str = "warmup_cosine",
    margin: float | None = None,
    timeout: float | None = None,
    stack: str = "auto",
    prune: bool = True,
    equal: Literal["steps", "seconds"] = "steps",
    spaces: str | Path | None = None,
    model: bool | None = None,
    cluster: str = "off",
    out: str | Path | None = None,
    fresh: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Find the optimizer, and its settings, that train a task best.

    Every candidate gets a run at its defaults and the same quasi-random points of its card's ranges, all at
    one seed and over the full horizon. The best are run again on fresh seeds: some to choose between their
    two best settings, others, paired, to decide. The answer is a winner, a practical tie or "undecided", with
    an interval and the smallest difference that would have been seen (docs/lab.md has the protocol).

    The result is the same for any number of processes. Ctrl-C ends the comparison; what is known is returned.
    With `out`, every run is kept there as it ends: the same call again, or `resume(out)`, goes on after Ctrl-C,
    a crash or a reboot as if nothing had happened, and repeats no run.

    Args:
        task: a Task, the name of a workload ("digits"), or a file ("my_task.py", "my_task.py:name", a Path).
        optimizers: names of rules, as a list or separated by commas; "all". Default: five of different kinds.
            On a task whose loss is that of all its data also minimizers: bfgs, lbfgs, broyden, cg, newton,
            newton-cg; one evaluation of value and gradient is one step, a product with the Hessian two.
        budget: "quick" (default), "standard", "thorough", a time ("20m", turned into runs by timing a few steps), the
            training steps of the whole comparison ("5000 steps"), or a Budget.
        points: search points per optimizer instead of the budget's (9, 27, 81).
        steps: of every run. Default: the task's.
        seed: another seed gives an independent repetition. Default 0.
        jobs: processes of one thread each, protected from each other; 1 stays in this one. Default: one per core.
        rules: further candidates: paths of rule files, or rule functions.
        schedule: of the learning rate, the same for all: "warmup_cosine" (default), "warmup_linear", "wsd",
            "constant", or one with a warm-up of its own, "wsd(warmup=0.1)" (default: 0.05 of the steps); or "tuned":
            every optimizer's search chooses among the same ten (thalweg.schedule.CHOICES).
        margin: differences up to here do not matter, in the metric's units. Default: half the standard
            deviation between seeds.
        timeout: seconds after which a run is stopped, as one that hangs; not with jobs=1. Default: 20 times what
            it should take, and at least a minute.
        stack: "auto" (default): trials of one optimizer are trained as one where a few steps of both ways show
            that this is faster; "off": one after the other. The numbers differ by rounding.
        prune: whether runs are stopped at a ninth and a third of the way if they are behind others of the same
            optimizer. Default True.
        equal: every run takes the same "steps" (default), or about the same "seconds": an optimizer whose step
            costs twice as much gets half the steps.
        spaces: a TOML file of search ranges that change those on the cards (thalweg.lab.ranges). Default: none.
        model: whether Optuna's TPE places the last third of 25 or more points. Default: if Optuna is installed.
        cluster: a Ray cluster whose workers make the runs: "ray://HOST:PORT", "auto" (the one that this machine
            belongs to), "local" (one that is started here), "off" (default). `jobs` is then the number of workers.
        out: folder for every run, and in the end for the report. Default: nothing is written.
        fresh: forget the runs that are in `out`. Default False.
        progress: called with every event (thalweg.lab.events). Default: nobody is told.

    Raises:
        ValueError: an argument is not what it must be. TaskError: the task is not, found before anything runs.
        StoreError: `out` is in use, or holds runs of another task or of other code.
        RunError: every run failed, in the same way. One that fails alone, twice, stands in the notes.

    Example:
        >>> result = compare("digits", "momentum,adamw", steps=100, jobs=1)  # doctest: +SKIP
        >>> print(result.verdict)                                            # doctest: +SKIP
        >>> result.save("out/")                                              # doctest: +SKIP
    """
    comparison = prepared(
        task, optimizers, budget=budget, points=points, steps=steps, seed=seed, jobs=jobs, rules=rules,
        schedule=schedule, margin=margin, timeout=timeout, stack=stack, prune=prune, equal=equal, spaces=spaces,
        model=model, cluster=cluster,
    )  # fmt: skip
    return comparison.run(progress) if out is None else comparison.run_in(out, progress, fresh=fresh)


def prepared(
    task: Task | str | Path,
    optimizers: str | Iterable[str] | None = None,
    *,
    budget: str | Budget = "quick",
    points: int | None = None,
    steps: int | None = None,
    seed: int = 0,
    jobs: int | None = None,
    rules: Sequence[str | Path | Callable] = (),
    schedule: str = "warmup_cosine",
    margin: float | None = None,
    timeout: float | None = None,
    stack: str = "auto",
    alone: bool = False,
    prune: bool = True,
    equal: Literal["steps", "seconds"] = "steps",
    spaces: str | Path | None = None,
    model: bool | None = None,
    cluster: str = "off",
) -> Comparison:
    """Look at the arguments of `compare` and try the task once: every mistake is found here, unspent.

    `alone` prepares to tune one optimizer.
    """
    optimizers = optimizers if optimizers is None or isinstance(optimizers, str) else list(optimizers)
    task = str(task) if isinstance(task, Path) else task
    arguments = dict(locals())  # as they were given: `resume` prepares from them
    amount = budgets.amount(budget)
    if amount is not None and points is not None:
        raise ValueError(f"points is {points!r} and budget {budget!r}; give one of the two.")
    chosen_budget = budgets.find(budget if amount is None else "quick", points)
    if equal not in ("steps", "seconds"):
        raise ValueError(f"equal is {equal!r}; it must be 'steps' or 'seconds'.")
    if model is None:  # settled here, and so recorded: whoever resumes it may not have Optuna, or have it now
        model = arguments["model"] = importlib.util.find_spec("optuna") is not None
    chosen_budget = replace(chosen_budget, rungs=chosen_budget.rungs if prune else 0, model=model)
    _check_model(chosen_budget)
    if schedule != schedules.TUNED:
        schedules.find(schedule)
    workers = jobs if jobs is None else _whole("jobs", jobs, 1)
    if margin is not None and not (isinstance(margin, int | float) and 0 <= margin < math.inf):
        raise ValueError(f"margin is {margin!r}; it must be a number of the metric's units, at least 0.")
    if timeout is not None and not (isinstance(timeout, int | float) and timeout > 0):
        raise ValueError(f"timeout is {timeout!r}; it must be a number of seconds, above 0.")
    check_flag("stack", stack, ("auto", "off"))
    _whole("seed", seed, 0, 2**31)
    competitors = candidates(optimizers, rules, least=1 if alone else 2)
    own, version = {}, ranges.VERSION
    if spaces is not None:
        own, version = ranges.read(spaces, {c.name: c.numbers for c in competitors})
    opening = chosen_budget.points * (TUNED if alone else 1)
    searched = {c.name: c.space(opening, own.get(c.name)) for c in competitors}
    if not isinstance(task, Task | str):
        raise ValueError(f"task is {task!r}; it must be a Task, the name of a workload or a Python file.")
    spec = task if isinstance(task, str) else None
    loaded = load_task(task) if isinstance(task, str) else task
    horizon = loaded.steps if steps is None else _whole("steps", steps, 1)
    loaded.check()
    for minimizer in (c.name for c in competitors if c.minimizes):
        check_exact(loaded, minimizer)
    plan = Plan(searched, chosen_budget, loaded.mode, horizon, seed, schedule, margin)
    count = (workers or require("loky").cpu_count()) if cluster == clusters.OFF else clusters.check(cluster, workers)
    return Comparison(
        loaded, spec, tuple(competitors), plan, count, jobs != 1, timeout, arguments, stack, amount, equal, version,
        cluster,
    )  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """A comparison that is ready to run.

    Attributes:
        task: what is trained.
        spec: how it was named, or None if it was given as an object.
        competitors: the candidates.
        plan: what is fixed before the first run.
        jobs: number of processes.
        isolated: whether runs have processes of their own: not if one job was asked for.
        timeout: seconds after which a run counts as hanging; None: from the measured time of a step.
        arguments: what it was prepared from.
        stack: "auto" or "off".
        amount: the budget, if it was given as time or steps: the plan's is chosen when a step has been timed.
        equal: what every run takes the same of.
        version: of the search ranges.
        cluster: where the runs are made, or "off".
        began: the working folder that it was prepared in, and runs in.
    """

    task: Task
    spec: str | None
    competitors: tuple[Candidate, ...]
    plan: Plan
    jobs: int
    isolated: bool = True
    timeout: float | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    stack: str = "auto"
    amount: Amount | None = None
    equal: Literal["steps", "seconds"] = "steps"
    version: str = ranges.VERSION
    cluster: str = clusters.OFF
    began: Path = field(default_factory=Path.cwd)

    def run_in(self, folder: str | Path, progress: Progress | None = None, *, fresh: bool = False) -> Result:
        """Run with every run kept in a folder, or taken from there if it is known, and save the result there."""
        folder = Path(folder).absolute()
        for package in ("matplotlib", "jinja2"):  # the report's: missing them shall not show at the end
            locate(package)
        with chdir(self.began):
            arguments, task = recorded(self.arguments), fingerprint.of_task(self.task)
            hashes = {c.name: fingerprint.of_function(c.rule) for c in self.competitors}
            with opened(folder) as store:
                store.begin(arguments, task, hashes, fresh, self.task.mode)
                result = self.run(progress, store)
                try:
                    result.save(folder)
                except OSError as error:
                    raise StoreError(
                        f"the result cannot be written to {str(folder)!r}: {error.strerror}; every run is kept there, "
                        f"and thalweg resume {folder} writes it."
                    ) from error
        return result

    def run(self, progress: Progress | None = None, store: Store | None = None) -> Result:
        """Time a few steps, tell how long it will take, and do it."""
        earlier, seconds = store.earlier() if store else (None, 0.0)
        started, begun = earlier or datetime.now(UTC), time.perf_counter() - seconds
        report, findings, plan = progress or silent, Findings(), self.plan
        costs: dict[str, Cost] = {}
        way, interrupted = Way(), False
        decided = store.decided if store else _measured
        try:
            with TemporaryDirectory(prefix="thalweg-") if store is None else nullcontext(store.states) as folder:
                states = States(Path(folder))
                limit = limited(limits(costs, self.timeout))  # costs are not known yet
                with self._place(states, limit) as perform:
                    costs.update(costs_of(perform, self.competitors, plan, decided, self.timeout))
                    if self.stack == "auto":
                        way = way_of(perform, self.competitors, plan, costs, decided, self.jobs)
                    shared_by = decided("processes that share the time", lambda: self.jobs)
                    plan = settled(plan, costs, self.amount, self.equal, shared_by)
                    _check_model(plan.budget)
                    if store:
                        store.commit()
                    report(_estimate(plan, self.task, costs, self.jobs))
                    apart = {c.name for c in self.competitors if c.minimizes}
                    stacking = Stacking(perform, way, apart, self.jobs)
                    perform = retried(stacking)
                    perform = remembered(perform, store) if store else perform
                    _drive(plan, findings, perform, report, states, store, stacking)
        except KeyboardInterrupt:
            interrupted = True
            if store:
                store.commit()
            with suppress(KeyboardInterrupt):  # a `progress` that stops it at every event stops it once
                report(Stopped())
            _stopped(plan, findings)
        data = summary(
            self.task, self.spec, self.competitors, plan, findings, costs,
            started=started, seconds=time.perf_counter() - begun, interrupted=interrupted, jobs=self.jobs, way=way,
            equal=self.equal, ranges=self.version,
        )  # fmt: skip
        return Result(data, self.task, {c.name: c for c in self.competitors})

    def _place(self, states: States, limit: Callable[[Any], float]) -> AbstractContextManager[Perform]:
        """Who makes the runs."""
        work: Any = Work(Trainer(self.task, self.competitors, states))
        if self.cluster != clusters.OFF:
            return clusters.workers(work, self.cluster, self.jobs, states, limit)
        return processes(work, self.jobs, limit) if self.isolated else solo(work)


def settled(plan: Plan, costs: Mapping[str, Cost], amount: Amount | None, equal: str, jobs: int) -> Plan:
    """The plan when a step of every optimizer has been timed: its horizons, and what an amount of time buys.

    A function of what was measured alone, so that a comparison that is resumed goes by the same plan.

    Raises:
        BudgetError: the amount buys no comparison.
    """
    plan = replace(plan, state={name: cost.state for name, cost in costs.items()})
    if not costs:  # every run will fail, and say why
        return plan
    if equal == "seconds":
        mean = sum(cost.step for cost in costs.values()) / len(costs)
        horizons = {name: max(1, round(plan.steps * mean / cost.step)) for name, cost in costs.items()}
        plan = replace(plan, horizons=horizons)
    if amount is None:
        return plan
    each = sum(cost.run(plan.horizon(name)) for name, cost in costs.items()) / len(costs)
    bought = budgets.afforded(amount, len(costs), each, plan.steps, jobs, plan.budget)
    spaces = {
        name: space.opened_for(bought.points * (TUNED if len(costs) == 1 else 1)) for name, space in plan.spaces.items()
    }
    return replace(plan, budget=bought, spaces=spaces)


def _check_model(budget: Budget) -> None:
    """Refuse to begin what a model takes part in where it is missing: without it, it would be another comparison."""
    if budget.modelled:
        require("optuna", "optuna")


def _drive(
    plan: Plan, findings: Findings, perform: Perform, report: Progress, states: States, store: Store | None,
    stacking: Stacking,
) -> None:  # fmt: skip
    """Let the protocol ask, have its trials run, and write down what they came to, also when interrupted."""
    for trials in protocol(plan, findings):
        if store is None or not store.knows(trials):  # else a later stage was under way, and goes on from its states
            states.drop_all_but(trials)
        stacking.stage = trials
        report(Stage(trials[0].phase, len(trials)))
        order = {trial: i for i, trial in enumerate(trials)}
        before, ended = list(findings.done), {}

        def keep(event: Event, order=order, before=before, ended=ended) -> None:
            if isinstance(event, Finished):
                ended[order[event.trial]] = (event.trial, event.run)
                findings.done = [*before, *(ended[i] for i in sorted(ended))]
                stop_if_hopeless(findings.done, len(before) + len(order))
            report(event)

        perform(trials, keep)


def _measured(name: str, measure: Callable[[], Any]) -> Any:
    """Decide without a memory."""
    return measure()


def _estimate(plan: Plan, task: Task, costs: dict[str, Cost], jobs: int) -> Planned:
    work = plan.budget.work(len(plan.spaces))
    each = sum(cost.run(plan.horizon(name)) for name, cost in costs.items()) / max(len(costs), 1)
    seconds = [each * n / jobs for n in work]
    return Planned(plan, task.metric_name, work, (seconds[0], seconds[1]), jobs)


def _stopped(plan: Plan, findings: Findings) -> None:
    """After Ctrl-C: keep what the shared seeds of the confirmation say, but call it stopped."""
    seeds = [{t.seed for t, _ in findings.of(name, "confirmation")} for name in findings.promoted]
    shared = set.intersection(*seeds) if seeds else set()
    findings.decision = None
    if len(shared) >= 2:
        paired = [(t, r) for t, r in findings.done if t.phase != "confirmation" or t.seed in shared]
        decision = judge(plan, replace(findings, done=paired), plan.budget.alphas[0])
        findings.decision = replace(decision, outcome="stopped")


def _whole(name: str, value: int, low: int, high: int | None = None) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < low or (high is not None and value >= high):
        allowed = f"at least {low}" if high is None else f"from {low} to {high - 1}"
        raise ValueError(f"{name} is {value!r}; it must be a whole number, {allowed}.")
    return value
