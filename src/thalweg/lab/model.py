"""Model-based search: where a Parzen estimator (Optuna's TPE) would look next, given an optimizer's runs so far."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from thalweg.extras import require
from thalweg.lab.plan import Done
from thalweg.lab.space import Space
from thalweg.lab.statistics import Mode

SCHEDULE = "schedule"
FAR = 10.0  # a diverged run stands so many ranges below the worst finite value: Optuna would drop a NaN


def suggested(
    space: Space, tried: Done, mode: Mode, n: int, seed: int, schedules: Sequence[str] = ("constant",)
) -> list[tuple[float, ...]]:
    """The next `n` points of [0, 1]^d for one optimizer, by ask and tell; the same for the same runs and seed.

    The last coordinate tells the schedule, as for the points of the sequence.

    The study is made anew from the ledger and thrown away, so nothing that Optuna remembers, drops or fails at
    gets into it. A pruned run is told as pruned, with the metric it had then; a diverged one as a large finite
    value.
    """
    optuna = require("optuna", "optuna")
    names = list(space.searched)
    unit = {name: optuna.distributions.FloatDistribution(0.0, 1.0) for name in names}
    if len(schedules) > 1:
        unit[SCHEDULE] = optuna.distributions.CategoricalDistribution(list(schedules))
    sign = 1 if mode == "min" else -1
    finite = [sign * run.final for _, run in tried if run.final is not None]
    worst = max(finite, default=0.0) + FAR * (max(finite, default=0.0) - min(finite, default=0.0) or 1.0)
    state = optuna.trial.TrialState
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # multivariate is, since 2020
        sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, n_startup_trials=1, constant_liar=True)
        before = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            study = optuna.create_study(sampler=sampler)
            for trial, run in tried:
                hyper = dict(trial.hyper)
                if not all(name in hyper for name in names):
                    continue  # the run at the defaults says nothing about where in the other ranges it stands
                place = {name: min(1.0, max(0.0, space.ranges[name].where(hyper[name]))) for name in names}
                place |= {SCHEDULE: trial.schedule} if len(schedules) > 1 else {}
                value = worst if run.final is None else sign * run.final
                pruned = trial.end < trial.steps and run.final is not None
                told = (
                    {"state": state.PRUNED, "intermediate_values": {trial.end: value}} if pruned else {"value": value}
                )
                study.add_trial(optuna.trial.create_trial(params=place, distributions=unit, **told))
            asked = [study.ask(unit) for _ in range(n)]
        finally:
            optuna.logging.set_verbosity(before)
    return [
        (*(trial.params[name] for name in names), _coordinate(trial.params.get(SCHEDULE), schedules)) for trial in asked
    ]


def _coordinate(schedule: str | None, schedules: Sequence[str]) -> float:
    """The middle of the part of [0, 1] that tells this schedule."""
    return 0.5 if schedule is None else (schedules.index(schedule) + 0.5) / len(schedules)
