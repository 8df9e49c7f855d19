"""What a step costs: measured alone, before the comparison starts."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import torch

from thalweg.lab.randomness import undisturbed
from thalweg.lab.task import Task
from thalweg.lab.train import CURVE_POINTS, Configure, measure

TIMED_STEPS = 10
ENOUGH_SECONDS = 2.0  # for one optimizer; a slow task is timed on fewer steps


@dataclass(frozen=True)
class Cost:
    """Of one optimizer on one task, one thread.

    Attributes:
        step: median seconds of a training step.
        metric: seconds of one evaluation.
        state: numbers that the optimizer keeps per parameter (Adam: 2).
        parameters: trainable parameters of the model.
    """

    step: float
    metric: float
    state: float
    parameters: int

    def run(self, steps: int) -> float:
        """Seconds that a run of so many steps takes."""
        return steps * self.step + (min(CURVE_POINTS, steps) + 1) * self.metric


def cost_of(task: Task, configure: Configure, seed: int) -> Cost:
    """Take up to ten steps, after one that is not counted, and time them."""
    with undisturbed(), torch.enable_grad():
        model = task.build(seed)
        parameters = [p for p in model.parameters() if p.requires_grad]
        optimizer, scheduler = configure(parameters, task.steps)
        times = []
        for _, batch_seconds, batch in _timed(task, seed):
            begun = time.perf_counter()
            optimizer.zero_grad()
            loss = task.loss(model.train(), batch)
            loss.item()
            loss.backward()
            optimizer.step()
            scheduler.step()
            times.append(time.perf_counter() - begun + batch_seconds)
            if sum(times) > ENOUGH_SECONDS and len(times) > 1:
                break
        begun = time.perf_counter()
        measure(task, model, task.selects)
        metric = time.perf_counter() - begun
    count = sum(p.numel() for p in parameters)
    return Cost(statistics.median(times[1:]), metric, _state_numbers(optimizer) / count, count)


def _timed(task: Task, seed: int):
    """Batches, each with the seconds that making it took."""
    batches = task.batches(seed)
    for number in range(1 + TIMED_STEPS):
        begun = time.perf_counter()
        batch = next(batches)
        yield number, time.perf_counter() - begun, batch


def _state_numbers(optimizer: torch.optim.Optimizer) -> int:
    """How many numbers the optimizer keeps in its state, without the step counters."""
    return sum(
        value.numel()
        for state in optimizer.state_dict()["state"].values()
        for key, value in state.items()
        if key != "step" and isinstance(value, torch.Tensor)
    )
