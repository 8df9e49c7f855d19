"""One run: train a task's model from one seed with one optimizer, and measure it.

Everything the lab runs goes through `train`, and so does the `winner.py` that it leaves behind.
"""

from __future__ import annotations

import copy
import io
import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.lab.randomness import streams, undisturbed
from thalweg.lab.run import Half, Point, Run, curve_steps
from thalweg.lab.task import Task, TaskError
from thalweg.minimize.optimizers import FullBatch

Configure = Callable[[list[nn.Parameter], int], tuple[Any, Any]]

LAST = 10  # losses that must all be above the first before a finite run counts as diverged
CLEARLY = 0.1  # and the share of a usual loss by which the mean of as many first batches must have risen


def train(
    task: Task,
    configure: Configure,
    *,
    seed: int,
    steps: int | None = None,
    data: Half = "selects",
    until: int | None = None,
    resume: bytes | None = None,
) -> Run:
    """Train once and measure on one half of the validation data.

    A run **diverges** when a loss, a parameter or the metric stops being finite (the loss is looked at in every
    step, the rest at every point of the curve; the run ends there), or when it ends clearly above its start:
    each of the last 10 training losses is above the first one, and the mean loss of the first 10 batches, asked
    after the last step and of the model as it began, with the same random numbers, has risen by more than a tenth
    of itself and of the least of those losses. The second condition compares batches with themselves, so a
    learning rate too small to do anything is never taken for a divergence, nor is a first batch that was easy.

    torch's, NumPy's and Python's random streams are as before afterwards. Exceptions of the task are passed on.

    Args:
        task: the problem.
        configure: `(parameters, steps) -> (optimizer, scheduler)`; the scheduler is stepped after every step.
        seed: decides the model's start, the data order and dropout.
        steps: optimizer steps of the whole run: the schedule's length. Default: the task's.
        data: the half that is measured, "selects" (default) or "reports".
        until: stop after so many steps and measure there. Default: go on to the end.
        resume: a state that `Training.state` gave for the same run; None begins at the beginning. The numbers
            are the same.
    """
    training = Training(task, configure, seed=seed, steps=steps, data=data)
    if resume is not None:
        training.load(resume)
    training.advance(until)
    return training.run()


class Training:
    """One run that may stop after any step, hand out its state, and go on later, here or in another process.

    However often it is stopped, measured, saved and loaded, it comes to the same numbers to the last bit: the
    state holds the model (parameters, buffers, and plain attributes that its modules keep), the optimizer, the
    scheduler, the random streams, the place in the data and what the run has recorded. What a model keeps
    elsewhere belongs in its `get_extra_state`, as for any checkpoint.

    Arguments and divergence are those of `train`.

    Example:
        >>> import torch
        >>> from thalweg import schedule, workloads
        >>> def sgd(parameters, steps):
        ...     optimizer = torch.optim.SGD(parameters, lr=0.1)
        ...     return optimizer, schedule.warmup_cosine(optimizer, steps)
        >>> digits = workloads.load("digits")
        >>> first = Training(digits, sgd, seed=0, steps=6)
        >>> first.advance(2)
        >>> later = Training(digits, sgd, seed=0, steps=6)
        >>> later.load(first.state())
        >>> later.step
        2
        >>> later.advance()
        >>> later.run().curve == train(digits, sgd, seed=0, steps=6).curve
        True
    """

    def __init__(
        self, task: Task, configure: Configure, *, seed: int, steps: int | None = None, data: Half = "selects"
    ):
        self.task, self.seed = task, seed
        self.steps = task.steps if steps is None else steps
        self._held_out, self._marks = getattr(task, data), curve_steps(self.steps)
        self.step, self.why, self.seconds = 0, None, 0.0
        self._spent, self.still_walks = 0, True  # of a minimizer
        self._losses: list[float] = []
        self._curve: list[Point] = []
        with self._counted(), undisturbed():
            self.model = task.build(seed)
            self.parameters = [p for p in self.model.parameters() if p.requires_grad]
            self.optimizer, self.scheduler = configure(self.parameters, self.steps)
            if isinstance(self.optimizer, FullBatch):
                iterate_once(self.optimizer)
            self.batches = task.batches(seed)
            self._streams = streams()
            self.own = self.first_own = self.read_streams()

    @contextmanager
    def _counted(self) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - began

    def advance(self, until: int | None = None) -> None:
        """Train until so many steps are done, to the end by default, or to the step in which the run diverges."""
        until = self.steps if until is None else until
        if not 0 <= until <= self.steps:
            raise ValueError(f"until is {until!r}; it must be a step of the run, from 0 to {self.steps}.")
        with self._counted(), undisturbed(), torch.enable_grad():
            self.write_streams(self.own)
            self.begin()
            while self.step < until and self.why is None:
                if isinstance(self.optimizer, FullBatch):
                    self._iterate(until)
                else:
                    self._take_step()
            self.own = self.read_streams()

    def begin(self) -> None:
        """Measure before the first step, unless that is done."""
        if not self._curve:
            self._point()

    def _take_step(self) -> None:
        batch = next(self.batches)
        if self.step == 0:
            self.first_own = self.read_streams()
        self.optimizer.zero_grad()
        loss = self.task.loss(self.model.train(), batch)
        if self.goes_on(loss.item()):
            loss.backward()
            self.optimizer.step()
            self.scheduler.step()
            self.stepped()

    def goes_on(self, loss: float) -> bool:
        """Record a step's loss; False if the run ends there."""
        self._losses.append(loss)
        if len(self._losses) == 1:
            self._curve[0] = replace(self._curve[0], loss=loss)
        if not math.isfinite(loss):
            self.why = f"the loss is {loss} in step {self.step + 1}"
        return self.why is None

    def stepped(self) -> None:
        """Count a step that was taken, and measure where the curve has a point."""
        self.step += 1
        if self.step in self._marks:
            if not all_finite(self.parameters):
                self.why = f"a parameter is not finite after step {self.step}"
                return
            self._point()

    # ---- a minimizer: one evaluation is one step

    def _iterate(self, until: int) -> None:
        """One step of a minimizer: as many steps of the run as it makes evaluations, and none beyond `until`.

        One that would go beyond is taken back, and `_spent` stays where it began, so that a longer leg of the run
        goes on from there. At a point of the curve the last step's end is measured, not a trial point.
        """
        assert isinstance(self.optimizer, FullBatch)
        before, spent = [p.detach().clone() for p in self.parameters], self._spent

        def meter(price: int) -> None:
            nonlocal spent
            if spent + price > until:
                raise _SpentError
            spent += price

        self.optimizer.meter = meter
        try:
            loss = self.optimizer.step(self._closure) if self.still_walks else None
        except _SpentError:
            loss = None
        if self.why is not None:
            return
        after = None if loss is None else [p.detach().clone() for p in self.parameters]
        self._put(before)
        self._pass(min(spent - 1, until) if after else until)
        if after and loss is not None:
            self._put(after)
            self._spent = spent
            self._losses.append(loss.item())
            self._pass(spent)
            if not all_finite(self.parameters):
                self.why = f"a parameter is not finite after step {self.step}"
            self.still_walks = not (self.optimizer.converged or self.optimizer.stalled)

    def _closure(self) -> Tensor:
        """The loss on all data, with its gradient."""
        assert isinstance(self.optimizer, FullBatch)
        self.optimizer.zero_grad()
        loss = self.task.loss(self.model.train(), self._whole)
        if not self._losses:
            self._losses.append(loss.item())
            self._curve[0] = replace(self._curve[0], loss=self._losses[0])
            if not math.isfinite(self._losses[0]):
                self.why = f"the loss is {self._losses[0]} in step 1"
        if self.optimizer.backward:
            loss.backward()
        return loss

    @cached_property
    def _whole(self) -> Any:
        return next(self.task.batches(self.seed))

    def _pass(self, to: int) -> None:
        """Steps go by up to `to` in which the parameters stay what they are."""
        passed = [mark for mark in sorted(self._marks) if self.step < mark <= to]
        self.step = max(self.step, to)
        if passed:
            here = Point(self.step, self._losses[-1], measure(self.task, self.model, self._held_out))
            self._curve += [replace(here, step=mark) for mark in passed]
            if here.metric is None:
                self.why = self._no_metric()

    @torch.no_grad()
    def _put(self, values: Sequence[Tensor]) -> None:
        for parameter, value in zip(self.parameters, values, strict=True):
            parameter.copy_(value)

    # ---- what is recorded

    def _point(self) -> None:
        self._curve.append(self._here())
        if self._curve[-1].metric is None:
            self.why = self._no_metric()

    def _here(self) -> Point:
        exact = isinstance(self.optimizer, FullBatch)
        since = self._losses[-1:] if exact else self._losses[self._curve[-1].step :] if self._curve else []
        loss = math.fsum(since) / len(since) if since else None
        return Point(self.step, loss, measure(self.task, self.model, self._held_out))

    def _no_metric(self) -> str:
        return f"the metric is not finite {f'after step {self.step}' if self.step else 'before the first step'}"

    def run(self) -> Run:
        """What it has come to so far, measured where it stands; it may go on afterwards as if nobody had looked."""
        curve, why = list(self._curve), self.why
        with self._counted(), undisturbed():
            if why is None and curve[-1].step < self.step:  # between two points of the curve
                curve.append(self._here())
                if curve[-1].metric is None:
                    why = self._no_metric()
                elif not all_finite(self.parameters):
                    why = f"a parameter is not finite after step {self.step}"
            if why is None and self._losses and min(self._losses[-LAST:]) > self._losses[0]:
                why = self._risen()
        return Run(curve[-1].metric if why is None else None, tuple(curve), self.seconds, self.step, why)

    def _risen(self) -> str | None:
        """Whether the loss of the first batches is clearly above what it was; of one alone it may be low by chance."""
        before = copy.deepcopy(self._state())  # train mode may move a model's running averages
        now = self._early_loss(self.model)
        self._restore(before)
        start = self._early_loss(self.task.build(self.seed))
        usual = max(abs(start), min(map(abs, self._losses[-LAST:])))
        if now <= start + CLEARLY * usual:
            return None
        return f"the mean loss of the first batches rose from {start:.4g} to {now:.4g}"

    @torch.no_grad()
    def _early_loss(self, model: nn.Module) -> float:
        """The mean on the first batches, with the random numbers of the first step."""
        batches = self.task.batches(self.seed)
        self.write_streams(self.first_own)
        losses = [self.task.loss(model.train(), next(batches)).item() for _ in range(min(LAST, self.steps))]
        return statistics.fmean(losses)

    # ---- to stop here and go on elsewhere

    def state(self) -> bytes:
        """All that it takes to go on from here.

        Raises:
            Exception: whatever pickle says of a model or optimizer whose state cannot be pickled.
        """
        file = io.BytesIO()
        torch.save(self._state(), file)
        return file.getvalue()

    def load(self, state: bytes) -> None:
        """Go on from a state of the same run."""
        self._restore(torch.load(io.BytesIO(state), weights_only=False))

    def _state(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "buffers": dict(self.model.named_buffers()),  # also those that a state_dict leaves out
            "attributes": {name: _plain(module) for name, module in self.model.named_modules()},
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "position": self.batches.position,
            "recorded": {name: getattr(self, name) for name in RECORDED},
        }

    @torch.no_grad()
    def _restore(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        for name, buffer in self.model.named_buffers():
            buffer.copy_(state["buffers"][name])
        for name, module in self.model.named_modules():
            vars(module).update(state["attributes"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.batches = self.task.batches(self.seed, state["position"])
        for name, value in state["recorded"].items():
            setattr(self, name, value)

    def read_streams(self) -> list[Any]:
        """Where the process' random streams stand."""
        return [read() for read, _ in self._streams]

    def write_streams(self, states: Sequence[Any]) -> None:
        """Put them there."""
        for (_, write), state in zip(self._streams, states, strict=True):
            write(state)


RECORDED = ("step", "why", "seconds", "_losses", "_curve", "own", "first_own", "_spent", "still_walks")


class _SpentError(Exception):
    """The next evaluation would be one too many."""


def iterate_once(minimizer: FullBatch) -> None:
    """Let a step of it be one iteration."""
    for group in minimizer.param_groups:
        group["max_iter"] = 1


def check_exact(task: Task, name: str) -> None:
    """Refuse a task for a minimizer where the loss at one and the same point changes.

    Raises:
        TaskError: it draws another batch in every step, or has dropout or other noise.
    """
    with undisturbed(), torch.no_grad():
        model = task.build(0).train()
        batches = task.batches(0)
        losses = [task.loss(model, next(batches)).item() for _ in range(2)]
    if abs(losses[0] - losses[1]) > 1e-9 * abs(losses[0]):
        raise TaskError(
            f"{name} needs all the data in every step and a loss without chance; the loss of task {task.name!r} at "
            f"its start is {losses[0]:.9g} in the first step and {losses[1]:.9g} in the second at the same point"
        )


def _plain(module: nn.Module) -> dict[str, Any]:
    """The counters and flags that a module keeps beside its tensors."""
    return {name: value for name, value in vars(module).items() if isinstance(value, int | float | str)}


def measure(task: Task, model: nn.Module, data: Any) -> float | None:
    """The metric in eval mode without gradients or traces in the random streams; None if it is not finite."""
    with undisturbed(), torch.no_grad():
        value = float(task.metric(model.eval(), data))
    return value if math.isfinite(value) else None


def all_finite(parameters: Iterable[Tensor]) -> bool:
    """Whether no parameter holds a NaN or an infinity."""
    return all(bool(torch.isfinite(p).all()) for p in parameters)
