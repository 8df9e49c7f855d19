"""Trains the runs that benchmarks/false_winners.py draws from: AdamW at many learning rates and seeds.

    python benchmarks/recorded/record.py mnist1d      # writes adamw_mnist1d.npz, and goes on where it was stopped

The learning rates span AdamW's range and a decade more on both sides, where the edge rule looks. Kept of every run:
the metric at the start, at the rung and at the end on the half that selects, and at the end on the half that reports;
NaN where it diverged.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from thalweg import schedule, workloads
from thalweg.card import Log
from thalweg.lab.candidates import candidates
from thalweg.lab.search import rung
from thalweg.lab.stacked import train_together
from thalweg.lab.task import Task
from thalweg.lab.train import Training, measure

HERE = Path(__file__).parent
AXIS = Log(1e-6, 1.0)
STRATA = 21  # of the axis; every name owns one of the rates in each, so that no two share one
PER_STRATUM = 4
RATES, SEEDS = STRATA * PER_STRATUM, 28


def breast_cancer() -> Task:
    """The held-out form, by batches of 32 rows."""
    task = workloads.load("breast_cancer", held_out=True)
    x, y = task.train(0, 0)  # type: ignore[operator]

    def train(step: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        rows = torch.randint(len(y), (32,), generator=workloads.stream(seed, step))
        return x[rows], y[rows]

    return replace(task, train=train)


def mnist1d() -> Task:
    """MNIST-1D by a small perceptron, 1,642 parameters, batches of 50."""

    def model(seed: int) -> torch.nn.Module:
        torch.manual_seed(seed)
        return torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(40, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10)
        )

    return replace(workloads.load("mnist1d", batch=50), model=model)


def mnist1d_loss() -> Task:
    """The same, but what is compared is the cross-entropy, in which a sure mistake is dear."""

    def metric(model: torch.nn.Module, data: tuple[torch.Tensor, torch.Tensor]) -> float:
        x, y = data
        return torch.nn.functional.cross_entropy(model(x), y).item()

    return replace(mnist1d(), metric=metric, metric_name="cross-entropy", mode="min")


POOLS: dict[str, tuple[Callable[[], Task], int]] = {  # how a task is made, and the horizon
    "quadratic_deep": (lambda: workloads.load("quadratic_deep"), 60),
    "breast_cancer": (breast_cancer, 60),
    "mnist1d": (mnist1d, 60),
    "mnist1d_loss": (mnist1d_loss, 120),
}


def record(name: str) -> None:
    """Train every learning rate at every seed, and write what is kept."""
    make, steps = POOLS[name]
    task, adamw, find = make(), candidates("adamw,sgd")[0], schedule.find("warmup_cosine")
    configured = [adamw.configure({"lr": AXIS.at((i + 0.5) / RATES)}, "warmup_cosine") for i in range(RATES)]
    path = HERE / f"adamw_{name}.npz"
    values = np.load(path)["values"] if path.exists() else np.empty((RATES, 0, 4))
    for seed in range(values.shape[1], SEEDS):  # what is there is kept
        trainings = [Training(task, configure, seed=seed, steps=steps) for configure in configured]
        train_together(task, trainings, find, rung(steps, 1))
        early = [training.run() for training in trainings]
        train_together(task, [training for training in trainings if training.why is None], find)
        found = np.full((RATES, 1, 4), np.nan)
        for row, training, before in zip(found[:, 0], trainings, early, strict=True):
            run = training.run()
            reports = None if run.diverged else measure(task, training.model, task.reports)
            row[:] = [np.nan if v is None else v for v in (run.untrained, before.final, run.final, reports)]
        values = np.concatenate([values, found.astype(np.float32)], axis=1)
        about = {"mode": task.mode, "steps": steps, "low": AXIS.low, "high": AXIS.high, "strata": STRATA}
        np.savez_compressed(path, values=values, **about)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for pool in sys.argv[1:]:
        begun = time.process_time()
        record(pool)
        print(f"{pool}: {time.process_time() - begun:.0f} CPU s", flush=True)
