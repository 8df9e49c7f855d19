"""What a step costs: measured alone, before the comparison starts."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from thalweg.lab.randomness import undisturbed
from thalweg.lab.run import CURVE_POINTS
from thalweg.lab.task import Task
from thalweg.lab.train import Configure, iterate_once, measure
from thalweg.minimize.optimizers import FullBatch

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
        if isinstance(optimizer, FullBatch):
            iterate_once(optimizer)
        times, first = [], time.perf_counter()
        for batch_seconds, batch in _timed(task, seed):
            if isinstance(optimizer, FullBatch):  # its steps are evaluations, on the same data
                times.append(_evaluation(task, model, optimizer, batch))
            else:
                begun = time.perf_counter()
                optimizer.zero_grad()
                loss = task.loss(model.train(), batch)
                loss.item()
                loss.backward()
                optimizer.step()
                scheduler.step()
                times.append(time.perf_counter() - begun + batch_seconds)
            if time.perf_counter() - first > ENOUGH_SECONDS and len(times) > 1:
                break
        begun = time.perf_counter()
        measure(task, model, task.selects)
        metric = time.perf_counter() - begun
    count = sum(p.numel() for p in parameters)
    state = sum(tensor.numel() for tensor in _state(optimizer.state_dict()["state"]))
    return Cost(statistics.median(times[1:]), metric, state / count, count)


def _evaluation(task: Task, model: nn.Module, optimizer: FullBatch, batch: Any) -> float:
    """Seconds of one of the evaluations that a step of a minimizer makes."""
    spent: list[int] = []
    optimizer.meter = spent.append

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = task.loss(model.train(), batch)
        if optimizer.backward:
            loss.backward()
        return loss

    begun = time.perf_counter()
    optimizer.step(closure)
    return (time.perf_counter() - begun) / max(sum(spent), 1)


def _timed(task: Task, seed: int) -> Iterator[tuple[float, Any]]:
    """Batches, each with the seconds that making it took."""
    batches = task.batches(seed)
    for _ in range(1 + TIMED_STEPS):
        begun = time.perf_counter()
        batch = next(batches)
        yield time.perf_counter() - begun, batch


def memory_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Bytes that a training takes.

    On a GPU the most that torch had allocated there since the training began. On a CPU, where processes and torch
    share one heap and a peak would be that of what ran before, it is what is held from step to step and can be
    counted: parameters, their gradients, buffers and the optimizer's state; activations are not in it.
    """
    parameters = list(model.parameters())
    if parameters and parameters[0].is_cuda:
        return torch.cuda.max_memory_allocated(parameters[0].device)
    gradients = [p for p in parameters if p.requires_grad]
    held = [*parameters, *gradients, *model.buffers(), *_state(optimizer.state_dict()["state"])]
    return sum(tensor.nbytes for tensor in held)


def _state(state: Mapping[Any, Any]) -> Iterator[torch.Tensor]:
    """The tensors in an optimizer's state, without the step counters.

    Of a minimizer, too, whose state has another dictionary inside; its point and its gradient are no state.
    """
    for key, value in state.items():
        if isinstance(value, Mapping):
            yield from _state(value)
        elif key not in ("step", "x") and isinstance(value, torch.Tensor):
            yield value
