"""What pruning costs in quality: the same comparisons with and without it, over many seeds.

    python benchmarks/pruning.py                # 1,000 comparisons each way, from the recorded runs
    python benchmarks/pruning.py --record 24    # trains them (about 20 minutes), and goes on where it was stopped

Recorded are the digits over 1,000 steps: compare's five optimizers at their defaults and at the 27 points of the budget
"standard", at 24 seeds, measured on both halves before the first step, at the rungs and at the end. A comparison deals
these seeds anew to its purposes and plays the whole protocol, all points quasi-random. What it recommends is judged by
its mean over all seeds on the half that reports: regret is how far that is behind the best setting's of all, in
standard deviations between seeds. Comparisons that go beyond an edge of a range ask for runs that are not recorded,
and are left out.

One comparison's regret differs from the next one's by a third of a standard deviation or more, so that two or three
say nothing about 0.25 (benchmarks/compare_cost.py).
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from false_winners import played
from step import machine

from thalweg import schedule, workloads
from thalweg.lab import statistics
from thalweg.lab.arithmetic import settled
from thalweg.lab.budget import PRESETS, Budget
from thalweg.lab.candidates import SHORT_LIST, Candidate
from thalweg.lab.plan import Findings, Plan, Trial
from thalweg.lab.run import Point, Run
from thalweg.lab.search import rung
from thalweg.lab.space import Space, points
from thalweg.lab.stacked import train_together
from thalweg.lab.train import Training, measure

RECORDED = Path(__file__).with_name("recorded") / "settings_digits.npz"
STANDARD = PRESETS["standard"]
FORMS = {"pruned": STANDARD, "not pruned": replace(STANDARD, rungs=0)}
STEPS = 1000
LEVELS = (rung(STEPS, 2), rung(STEPS, 1), STEPS)
FIRST_SEED = 5000
STATE: dict[str, float] = dict.fromkeys(SHORT_LIST, 1.0)  # numbers per parameter: matters only where optimizers tie
Setting = tuple[str, tuple[tuple[str, float], ...]]


@functools.cache
def spaces() -> dict[str, Space]:
    """Of every optimizer, opened as for the budget."""
    return {name: Candidate(name, name).space(STANDARD.points) for name in SHORT_LIST}


@functools.cache
def places() -> dict[Setting, int]:
    """The settings, and where each is recorded."""
    found, asked = spaces().items(), points(STANDARD.points)
    placed = ((name, hyper) for name, space in found for hyper in (space.default, *map(space.at, asked)))
    return {(name, tuple(hyper.items())): i for i, (name, hyper) in enumerate(placed)}


# ---- recording


def record(seeds: int) -> None:
    """Train every setting at so many seeds; seeds that are there are kept."""
    task, known = workloads.load("digits"), list(places())
    values = np.load(RECORDED)["values"] if RECORDED.exists() else np.empty((len(known), 0, 1 + len(LEVELS), 2))
    for seed in range(values.shape[1], seeds):
        alike = [[setting for setting in known if setting[0] == name] for name in SHORT_LIST]
        rows = [row for same in alike for row in _trained(task, same, FIRST_SEED + seed)]
        values = np.concatenate([values, np.array(rows, np.float32)[:, None]], axis=1)
        np.savez_compressed(RECORDED, values=values.astype(np.float32))
        print(f"seed {seed}", flush=True)


def _trained(task: workloads.Task, known: list[Setting], seed: int) -> Iterator[list[tuple[float, float]]]:
    with settled():
        configured = [Candidate(name, name).configure(dict(hyper), "warmup_cosine") for name, hyper in known]
        trainings = [Training(task, configure, seed=seed, steps=STEPS) for configure in configured]
        rows: list[list[tuple[float, float]]] = [[] for _ in known]
        for level in (0, *LEVELS):
            train_together(task, trainings, schedule.warmup_cosine, level)
            for training, row in zip(trainings, rows, strict=True):
                final = training.run().final
                reports = math.nan if final is None else measure(task, training.model, task.reports)
                row.append((math.nan if final is None else final, math.nan if reports is None else reports))
    yield from rows


# ---- playing


@dataclass
class Recorded:
    """Answers trials with recorded runs; every seed that is asked for is one of those recorded, dealt by chance."""

    values: np.ndarray  # settings, seeds, start and rungs, halves
    free: list[int]
    dealt: dict[int, int] = field(default_factory=dict)
    horizons: dict[Trial, float] = field(default_factory=dict)

    def __call__(self, trial: Trial) -> Run:
        """The run of this setting at the seed."""
        if trial.seed not in self.dealt:
            self.dealt[trial.seed] = self.free.pop()
        of = self.values[places()[trial.optimizer, trial.hyper], self.dealt[trial.seed]]
        half = int(trial.data == "reports")
        last = 1 + LEVELS.index(trial.end)
        self.horizons[replace(trial, until=None)] = trial.end / STEPS
        curve = [
            Point(step, 1.0, float(value))
            for step, value in zip((0, *LEVELS)[: last + 1], of[: last + 1, half], strict=True)
            if not math.isnan(value)
        ]
        final = None if math.isnan(of[last, half]) else float(of[last, half])
        reported = float(of[last, 1]) if trial.phase == "choice" else None
        return Run(final, tuple(curve), 0.0, trial.end, None if final is not None else "it diverged", reported=reported)


def outcome(values: np.ndarray, budget: Budget, number: int) -> tuple[Setting, float] | None:
    """What one comparison recommends and the full horizons that it takes; None if it asks for what is not there."""
    seeds = list(range(values.shape[1]))
    random.Random(number).shuffle(seeds)
    answer = Recorded(values, seeds)
    plan = Plan(spaces(), budget, "max", STEPS, state=STATE)
    try:
        findings = played(plan, answer)
    except KeyError:
        return None
    return recommended(findings), sum(answer.horizons.values())


def recommended(findings: Findings) -> Setting:
    """The setting of the optimizer that the decision recommends."""
    assert findings.decision is not None
    chosen = findings.chosen[findings.decision.recommended or ""]
    return chosen.optimizer, chosen.hyper


def compared(comparisons: int) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Of both forms the regrets, on the same deals, and the mean of the full horizons."""
    values = np.load(RECORDED)["values"].astype(float)
    reported = np.nan_to_num(values[:, :, -1, 1], nan=0.0)  # nothing is right where a run diverged
    truth = dict(zip(places(), reported.tolist(), strict=True))
    best = max(truth.values(), key=statistics.mean)
    pairs = [[outcome(values, budget, i) for budget in FORMS.values()] for i in range(comparisons)]
    regrets, horizons = {}, {}
    for form, ends in zip(FORMS, zip(*(pair for pair in pairs if None not in pair), strict=True), strict=True):
        behind = [statistics.mean(best) - statistics.mean(truth[setting]) for setting, _ in ends]
        regrets[form] = np.array(behind) / statistics.sd(best)
        horizons[form] = statistics.mean([spent for _, spent in ends])
    return regrets, horizons


def main() -> None:
    """Print what both forms come to, and their difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", type=int, metavar="SEEDS")
    parser.add_argument("--comparisons", type=int, default=1000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.record:
        return record(options.record)
    print(json.dumps(machine()))
    regrets, horizons = compared(options.comparisons)
    for form, own in regrets.items():
        print(f"{form}: {horizons[form]:.0f} full horizons, regret {own.mean():.3f} sd; its own sd {own.std():.2f}")
    apart = regrets["pruned"] - regrets["not pruned"]
    error = apart.std() / len(apart) ** 0.5
    print(f"pruned behind not pruned: {apart.mean():+.3f} sd, standard error {error:.3f}, n = {len(apart)}")
    return None


if __name__ == "__main__":
    main()
