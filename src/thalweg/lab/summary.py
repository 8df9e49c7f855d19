"""From what happened to the dictionary that is saved as result.json."""

from __future__ import annotations

import importlib.metadata
import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

import torch

from thalweg.lab import budget as budgets
from thalweg.lab import faults, statistics
from thalweg.lab.candidates import Candidate
from thalweg.lab.cost import Cost
from thalweg.lab.decide import Decision
from thalweg.lab.plan import SEARCHED, Done, Findings, Plan, Trial
from thalweg.lab.protocol import sensitivity_of, worst_value
from thalweg.lab.run import Run
from thalweg.lab.search import rung, value_at
from thalweg.lab.statistics import Mode
from thalweg.lab.target import time_to_target
from thalweg.lab.task import Task
from thalweg.lab.verdict import sentence
from thalweg.lab.way import Way

FEWEST = 3  # full runs of a search, below which nothing is a comparison (docs/lab.md)
PACKAGES = ("thalweg", "torch", "numpy", "scipy", "scikit-learn", "loky")


def summary(
    task: Task,
    spec: str | None,
    competitors: Sequence[Candidate],
    plan: Plan,
    findings: Findings,
    costs: Mapping[str, Cost],
    *,
    started: datetime,
    seconds: float,
    interrupted: bool,
    jobs: int,
    way: Way,
    equal: str = "steps",
    ranges: str = "",
) -> dict[str, Any]:
    """Everything that is known, as strict JSON: numbers that are not finite have become null."""
    decision = findings.decision or _without_confirmation(plan, findings, interrupted)
    by_name = {c.name: c for c in competitors}
    unconfirmed = [name for name in plan.spaces if name not in findings.promoted]
    done = _as_far_as_they_came(findings)
    notes = [*decision.notes, *findings.notes, *faults.notes(done), *_apart(done)]
    if not interrupted:
        notes += _too_few(plan, findings)
    if findings.promoted and unconfirmed:
        notes.append(f"behind in the search and so not confirmed: {', '.join(unconfirmed)}")
    return _strict(
        {
            "verdict": sentence(decision, task, findings),
            "decision": {**asdict(decision), "notes": notes, "spent": _spent(plan, findings)},
            "task": _task(task, spec, plan, costs),
            "together": asdict(way),
            "budget": {
                "preset": plan.budget.preset,
                "points": plan.budget.points,
                "steps_per_run": plan.steps,
                "looks": list(plan.budget.looks),
                "alphas": list(plan.budget.alphas),
                "schedule": plan.schedule,
                "equal": equal,
                "horizons": {name: plan.horizon(name) for name in plan.spaces},
                "rungs": [rung(plan.steps, level) for level in range(plan.budget.rungs, 0, -1)],
                "modelled": plan.budget.modelled,
                "seed": plan.seed,
                "jobs": jobs,
                "ledger": budgets.ledger(plan.spaces, findings.done),
            },
            "spaces": {name: space.described() for name, space in (findings.spaces or plan.spaces).items()},
            "ranges": {"version": ranges, "sources": {name: space.source for name, space in plan.spaces.items()}},
            "optimizers": {c.name: _optimizer(c, plan, findings, costs.get(c.name)) for c in competitors},
            "tuning_curves": {name: _tuning_curve(findings.evenly_spread(name, plan), plan.mode) for name in by_name},
            "target": _target(plan, findings, costs, decision),
            "pruning": {name: _pruning(name, plan, findings) for name in by_name},
            "runs": [_run(by_name[trial.optimizer], trial, run) for trial, run in _as_far_as_they_came(findings)],
            "winner": _winner(decision, by_name, plan, findings),
            "versions": versions(),
            "machine": machine(),
            "started": started.isoformat(timespec="seconds"),
            "seconds": seconds,
            "interrupted": interrupted,
        }
    )


def _without_confirmation(plan: Plan, findings: Findings, interrupted: bool) -> Decision:
    """The decision where nothing could be confirmed: the best of the search, and no claim."""
    best = {name: found for name in plan.spaces if (found := findings.best(name, plan.mode))}
    sign = 1 if plan.mode == "min" else -1
    leader = min(best, key=lambda name: sign * (best[name][1].final or 0.0), default=None)
    outcome = "stopped" if interrupted else "undecided"
    spread = findings.seed_sd or 0.0
    margin = spread / 2 if plan.margin is None else plan.margin
    return Decision(outcome, leader, leader, 0, margin, spread, plan.budget.alphas[0], None)


# ---- the parts


def _spent(plan: Plan, findings: Findings) -> float:
    """The error that the looks taken so far have spent together: the risk of a false winner."""
    seeds = max((len(findings.of(name, "confirmation")) for name in findings.promoted), default=0)
    return sum(a for look, a in zip(plan.budget.looks, plan.budget.alphas, strict=True) if look <= seeds)


def _task(task: Task, spec: str | None, plan: Plan, costs: Mapping[str, Cost]) -> dict[str, Any]:
    return {
        "name": task.name,
        "spec": spec,
        "steps": task.steps,
        "mode": task.mode,
        "metric": task.metric_name,
        "parameters": next((cost.parameters for cost in costs.values()), None),
        "selects": _length(task.selects),
        "reports": _length(task.reports),
        "description": task.description,
        "source": task.source,
        "licence": task.licence,
    }


def _length(data: Any) -> int | None:
    """How many items a half of the validation data has, where that can be seen."""
    if isinstance(data, torch.utils.data.DataLoader):
        data = data.dataset
    elif isinstance(data, Mapping):
        data = next(iter(data.values()))
    elif isinstance(data, tuple | list) and data and hasattr(data[0], "shape"):
        data = data[0]
    return len(data) if hasattr(data, "__len__") else None


def _optimizer(candidate: Candidate, plan: Plan, findings: Findings, cost: Cost | None) -> dict[str, Any]:
    name = candidate.name
    searched, best = findings.tried(name, *SEARCHED), findings.best(name, plan.mode)
    chosen = findings.chosen.get(name) or (best[0] if best else None)
    space = (findings.spaces or plan.spaces)[name]
    own = [run for trial, run in _as_far_as_they_came(findings) if trial.optimizer == name]
    return {
        "title": candidate.title,
        "promoted": name in findings.promoted,
        "search_best": best[1].final if best else None,
        "chosen": candidate.arguments(dict(chosen.hyper)) if chosen else None,
        "schedule": candidate.schedule(chosen.schedule) if chosen else None,
        "edges": space.edges(dict(chosen.hyper)) if chosen else {},
        "diverged": sum(run.diverged for _, run in searched),
        "failed": sum(run.failed for run in own),
        "trials": len(searched),
        "confirmed": _confirmed(findings.of(name, "confirmation"), plan.mode, findings),
        "milliseconds_per_step": 1000 * cost.step if cost else None,
        "state_per_parameter": round(cost.state, 3) if cost else None,
        "memory": max((run.memory for run in own if run.memory), default=None),
        "lr_sensitivity": sensitivity_of(findings.evenly_spread(name, plan), plan.mode),
    }


def _confirmed(done: Done, mode: Mode, findings: Findings) -> dict[str, Any] | None:
    """The final values on fresh seeds; in mean and interval a run that diverged stands with the worst value."""
    done = [(trial, run) for trial, run in done if not run.failed]
    if not done:
        return None
    worst = worst_value([r for t, r in findings.done if t.phase == "confirmation"], mode)
    values = [worst if run.final is None else run.final for _, run in done]
    low, high = statistics.t_interval(values, budgets.ALPHA) if len(values) > 1 else (None, None)
    return {
        "n": len(values),
        "mean": statistics.mean(values),
        "low": low,
        "high": high,
        "iqm": statistics.interquartile_mean(values),
        "iqm_interval": statistics.interquartile_interval(values),
        "min": min(values),
        "max": max(values),
        "values": [run.final for _, run in done],
    }


def _target(plan: Plan, findings: Findings, costs: Mapping[str, Cost], decision: Decision) -> dict[str, Any] | None:
    """With room of one standard deviation between seeds: of those that confirm, where there are two."""
    confirmed = {
        name: [run for _, run in findings.of(name, "confirmation") if not run.failed] for name in findings.promoted
    }
    horizons = {name: plan.horizon(name) for name in plan.spaces}
    spread = decision.seed_sd if decision.n > 1 else findings.seed_sd or 0.0
    return time_to_target(confirmed, costs, plan.mode, spread, horizons)


def _tuning_curve(searched: Done, mode: Mode) -> list[list[float]]:
    """Expected best value after n trials.

    A run that diverged stands with the worst value, one that was pruned with what it had reached.
    """
    searched = [(trial, run) for trial, run in searched if not run.failed]
    if not searched or all(run.final is None for _, run in searched):
        return []
    worst = worst_value([run for _, run in searched], mode)
    values = [worst if run.final is None else run.final for _, run in searched]
    return [[n, value] for n, value in enumerate(statistics.expected_best(values, mode), 1)]


def _as_far_as_they_came(findings: Findings) -> Done:
    """Every run once, in the order in which it was first asked for."""
    ended: dict[Trial, tuple[Trial, Run]] = {}
    for trial, run in findings.done:
        ended[replace(trial, until=None)] = (trial, run)
    return list(ended.values())


def _pruning(name: str, plan: Plan, findings: Findings) -> list[dict[str, Any]]:
    """How the order at each rung agreed with the final order, over the full runs of an optimizer's search.

    `spearman` is None with fewer than three of them. Runs that were pruned have no final value, so with pruning
    this is a correlation among the better ones, lower than it would be among all.
    """
    full = [run for _, run in findings.of(name, *SEARCHED) if run.final is not None]
    rungs = []
    for level in range(budgets.RUNGS, 0, -1):
        until = rung(plan.horizon(name), level)
        pairs = [
            (value, run.final) for run in full if run.final is not None and (value := value_at(run, until)) is not None
        ]
        pruned = sum(t.until == until and not r.diverged and not r.failed for t, r in findings.tried(name, *SEARCHED))
        rungs.append({"step": until, "pruned": pruned, "n": len(pairs), "spearman": statistics.spearman(pairs)})
    return rungs


def _too_few(plan: Plan, findings: Findings) -> list[str]:
    """A sentence about every optimizer whose search gave too few values to say that it was tuned."""
    whole = {name: sum(r.final is not None for _, r in findings.of(name, *SEARCHED)) for name in plan.spaces}
    return [
        f"only {n} full search runs of {name} gave a value: with fewer than {FEWEST} it is not compared fairly"
        for name, n in whole.items()
        if n < FEWEST
    ]


def _apart(done: Done) -> list[str]:
    """A sentence about every reason for which runs could not be trained as one."""
    reasons: dict[str, set[str]] = {}
    for trial, run in done:
        if run.alone is not None:
            reasons.setdefault(run.alone, set()).add(trial.optimizer)
    return [
        f"runs of {', '.join(sorted(names))} were trained one after the other: {why}"
        for why, names in sorted(reasons.items())
    ]


def _run(candidate: Candidate, trial: Trial, run: Run) -> dict[str, Any]:
    return {
        "optimizer": trial.optimizer,
        "hyper_parameters": candidate.arguments(dict(trial.hyper)),
        "schedule": candidate.schedule(trial.schedule),
        "seed": trial.seed,
        "phase": trial.phase,
        "final": run.final,
        "curve": [asdict(point) for point in run.curve],
        "seconds": run.seconds,
        "diverged": run.diverged,
        "data": trial.data,
        "steps": run.steps,
        "memory": run.memory,
        "reported": run.reported,
        "pruned": trial.end < trial.steps and not run.diverged and not run.failed,
        "why": run.why,
        "error": run.error,
    }


def _winner(decision: Decision, by_name: Mapping[str, Candidate], plan: Plan, findings: Findings) -> dict | None:
    """What winner.py trains: the recommended settings from a seed of the confirmation (of the search, if none)."""
    name = decision.recommended
    if name is None:
        return None
    confirmed = [(t, r) for t, r in findings.of(name, "confirmation") if r.final is not None]
    found = confirmed[0] if confirmed else findings.best(name, plan.mode)
    if found is None:
        return None
    trial, run = found
    return {
        "optimizer": name,
        "class": by_name[name].optimizer.__name__,
        "rule": None if isinstance(by_name[name].origin, str) else getattr(by_name[name].rule, "__name__", "rule"),
        "hyper_parameters": by_name[name].arguments(dict(trial.hyper)),
        "schedule": by_name[name].schedule(trial.schedule),
        "seed": trial.seed,
        "steps": trial.steps,
        "final": run.final,
        "data": trial.data,
    }


def machine() -> dict[str, Any]:
    """Where this process runs."""
    return {
        "system": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }


def versions() -> dict[str, str]:
    """Of Python and of the packages that a number may depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _strict(value: Any) -> Any:
    """The same with lists for tuples and None for what JSON has no number for."""
    if isinstance(value, Mapping):
        return {str(key): _strict(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
