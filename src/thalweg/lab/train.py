"""One run: train a task's model from one seed with one optimizer, and measure it.

Everything the lab runs goes through `train`, and so does the `winner.py` that it leaves behind.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from thalweg.lab.randomness import undisturbed
from thalweg.lab.task import Task

Half = Literal["selects", "reports"]
Configure = Callable[[list[nn.Parameter], int], tuple[Any, Any]]

CURVE_POINTS = 10  # besides the one before the first step
LAST = 10  # losses that must all be above the first before a finite run counts as diverged
CLEARLY = 0.1  # and the share of a usual loss by which that on the first batch must have risen


@dataclass(frozen=True)
class Point:
    """A point of a learning curve: after `step` steps; `loss` is the mean since the point before."""

    step: int
    loss: float | None
    metric: float | None


@dataclass(frozen=True)
class Run:
    """What one training came to.

    Attributes:
        final: the metric after the last step, None when the run diverged.
        curve: points from step 0 to the last, evenly spread; the metric is on the half the run was given.
        seconds: wall-clock seconds, evaluation included.
        steps: steps taken, fewer than asked for when the run was stopped.
        why: None, or why the run counts as diverged.
    """

    final: float | None
    curve: tuple[Point, ...]
    seconds: float
    steps: int
    why: str | None = None

    @property
    def diverged(self) -> bool:
        """Whether the run counts as worst."""
        return self.why is not None


def train(task: Task, configure: Configure, *, seed: int, steps: int | None = None, data: Half = "selects") -> Run:
    """Train once and measure on one half of the validation data.

    A run **diverges** when a loss, a parameter or the metric stops being finite (the loss is looked at in every
    step, the rest at every point of the curve; the run ends there), or when it ends clearly above its start:
    each of the last 10 training losses is above the first one, and the loss on the first batch, asked again
    after the last step with the same random numbers, has risen by more than a tenth of itself and of the median
    of those losses. The second condition compares a batch with itself, so a learning rate too small to do
    anything is never taken for a divergence.

    torch's, NumPy's and Python's random streams are as before afterwards. Exceptions of the task are passed on.

    Args:
        task: the problem.
        configure: `(parameters, steps) -> (optimizer, scheduler)`; the scheduler is stepped after every step.
        seed: decides the model's start, the data order and dropout.
        steps: optimizer steps. Default: the task's.
        data: the half that is measured, "selects" (default) or "reports".
    """
    steps = task.steps if steps is None else steps
    started = time.perf_counter()
    with undisturbed(), torch.enable_grad():
        curve, taken, why = _walk(task, configure, seed, steps, getattr(task, data))
    final = curve[-1].metric if why is None else None
    return Run(final, tuple(curve), time.perf_counter() - started, taken, why)


def _walk(
    task: Task, configure: Configure, seed: int, steps: int, held_out: Any
) -> tuple[list[Point], int, str | None]:
    model = task.build(seed)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer, scheduler = configure(parameters, steps)
    marks = curve_steps(steps)
    losses: list[float] = []
    curve = [Point(0, None, measure(task, model, held_out))]
    if curve[0].metric is None:
        return curve, 0, "the metric is not finite before the first step"
    first, randomness = None, torch.get_rng_state()
    for step, batch in zip(range(1, steps + 1), task.batches(seed), strict=False):
        if step == 1:
            first, randomness = batch, torch.get_rng_state()
        optimizer.zero_grad()
        loss = task.loss(model.train(), batch)
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            return curve, step - 1, f"the loss is {losses[-1]} in step {step}"
        loss.backward()
        optimizer.step()
        scheduler.step()
        if step in marks:
            if not all_finite(parameters):
                return curve, step, f"a parameter is not finite after step {step}"
            since = losses[curve[-1].step :]
            curve.append(Point(step, math.fsum(since) / len(since), measure(task, model, held_out)))
            if curve[-1].metric is None:
                return curve, step, f"the metric is not finite after step {step}"
    curve[0] = Point(0, losses[0], curve[0].metric)
    if min(losses[-LAST:]) > losses[0]:
        torch.set_rng_state(randomness)
        with torch.no_grad():
            again = task.loss(model.train(), first).item()
        usual = max(abs(losses[0]), statistics.median(map(abs, losses[-LAST:])))
        if not again <= losses[0] + CLEARLY * usual:
            return curve, steps, f"the loss on the first batch rose from {losses[0]:.4g} to {again:.4g}"
    return curve, steps, None


def curve_steps(steps: int) -> set[int]:
    """The steps after which the curve has a point: at most ten, evenly spread, the last one among them."""
    points = min(CURVE_POINTS, steps)
    return {round(steps * i / points) for i in range(1, points + 1)}


def measure(task: Task, model: nn.Module, data: Any) -> float | None:
    """The metric in eval mode without gradients or traces in the random streams; None if it is not finite."""
    with undisturbed(), torch.no_grad():
        value = float(task.metric(model.eval(), data))
    return value if math.isfinite(value) else None


def all_finite(parameters: Iterable[Tensor]) -> bool:
    """Whether no parameter holds a NaN or an infinity."""
    return all(bool(torch.isfinite(p).all()) for p in parameters)
