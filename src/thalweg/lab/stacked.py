"""Many runs as one training: settings, seeds and optimizers side by side in stacked tensors.

`train_together` takes trainings that have not begun, or that stand at the same step, and takes them further. Each
comes to what it would come to alone, up to rounding: before anything is believed, every member's first loss and
gradient are compared with the plain loop's. While they are together, each training's model and optimizer hold their
part of the stacked tensors, so measuring, saving and going on alone need nothing special.
"""

from __future__ import annotations

import itertools
import pickle
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from thalweg.lab.batching import Batching
from thalweg.lab.captured import STEPS, Answer, Captured
from thalweg.lab.randomness import undisturbed
from thalweg.lab.task import Task
from thalweg.lab.train import Training
from thalweg.lab.vectorised import Refused, Vectorised, merged, places_of, refusal
from thalweg.optimizer import Optimizer
from thalweg.together import Together, kind

FindSchedule = Callable[[torch.optim.Optimizer, int], LRScheduler]
# How far a member's first gradient may be from the plain loop's, relative to its length.
CLOSE = {torch.float64: 1e-9, torch.float32: 1e-4}


def train_together(
    task: Task,
    trainings: Sequence[Training],
    schedule: FindSchedule,
    until: int | None = None,
    keep: Callable[[], None] | None = None,
    interval: float = 30.0,
) -> None:
    """As `training.advance(until)` of each of them.

    Args:
        task: theirs.
        trainings: at the same step but for those that have diverged, of the same length; those with optimizers of one
            kind beside each other.
        schedule: what made their schedulers.
        until: the step to stop at. Default: the end.
        keep: called every `interval` seconds, when each training has what is its own, to write down where they are.
        interval: see above.

    Raises:
        Refused: they cannot be trained as one, or not to the same numbers. They are then of no more use.
    """
    if not trainings:
        return
    if len({(t.step, t.steps) for t in trainings if t.why is None}) > 1:
        raise Refused("the runs are at different steps, or of different lengths")
    until = trainings[0].steps if until is None else until
    began, together = time.perf_counter(), list(trainings)

    def share_out() -> None:
        nonlocal began
        share, began = (time.perf_counter() - began) / len(together), time.perf_counter()
        for training in together:
            training.seconds += share

    def kept() -> None:
        share_out()
        if keep is not None:
            keep()

    try:
        with undisturbed(), torch.enable_grad():
            for training in together:
                training.begin()
            going = [training for training in together if training.why is None]
            if going and going[0].step < until:
                stack = Stack(task, going, schedule)
                stack.advance(until, kept, interval if keep else float("inf"))
    except Refused:
        raise
    except Exception as error:  # vmap's refusals are of many types; what is the task's own, the plain loop meets again
        raise Refused(refusal(error)) from error
    share_out()


class Stack:
    """Trainings that go on together."""

    def __init__(self, task: Task, trainings: Sequence[Training], schedule: FindSchedule):
        self.task, self.trainings, self.schedule = task, list(trainings), schedule
        first = self.trainings[0]
        self.step, self.start, self.until = first.step, first.step, first.step
        self.template = task.build(first.seed).train()
        self.streams = [torch.Generator() for _ in trainings]
        for stream, training in zip(self.streams, trainings, strict=True):
            stream.set_state(training.own[0])
        self.batch, self.merged = self._next()
        for training in self.trainings:
            if self.step == 0:
                training.first_own = training.own
        plain = self._plain_pass()
        self.batching = Batching(self.streams)
        self._gather(plain)
        odd = self._odd(plain)
        if len(odd) == len(trainings):  # it is not for a member
            self.batching.products = False
            self._stack()
            odd = self._odd(plain)
        if odd:
            some = odd if len(odd) < len(trainings) else ()
            raise Refused("a member's first loss or gradient is not that of its own run", some)
        self._join()

    # ---- putting together

    def _next(self) -> tuple[list[Any], Any]:
        """The next batch of every member, and what the vectorised loss gets."""
        taken = {seed: next(training.batches) for seed, training in self._leading().items()}
        batches = [taken[training.seed] for training in self.trainings]
        return batches, batches[0] if len(taken) == 1 else merged(batches)

    def _leading(self) -> dict[int, Training]:
        """For each seed the member whose place in the data moves on: the data of a seed are the same for all."""
        return {training.seed: training for training in reversed(self.trainings)}

    def _plain_pass(self) -> list[tuple[float, list[Tensor | None], dict[str, Tensor]]]:
        """Loss, gradients and buffers of every member by the plain loop, which changes nothing else."""
        found = []
        attributes = [_attributes(training.model) for training in self.trainings]
        if any(other != attributes[0] for other in attributes):
            raise Refused("the models keep numbers of their own that differ between runs")
        for training, batch in zip(self.trainings, self.batch, strict=True):
            _refuse_hidden_tensors(training.model, self.trainings[0].model)
            before = {name: buffer.clone() for name, buffer in training.model.named_buffers()}
            training.write_streams(training.own)
            loss = self.task.loss(training.model.train(), batch)
            loss.backward()
            after = training.read_streams()
            if any(map(_differ, after[1:], training.own[1:])):
                raise Refused("the loss draws from NumPy's or Python's random numbers")
            buffers = {name: buffer.clone() for name, buffer in training.model.named_buffers()}
            found.append((loss.item(), [p.grad for p in training.parameters], buffers))
            for p in training.parameters:
                p.grad = None
            for name, buffer in training.model.named_buffers():
                buffer.copy_(before[name])
            if _attributes(training.model) != attributes[0]:
                raise Refused("a module counts, or keeps another number of its own that changes in a step")
        for name, part in self.template.named_modules():
            vars(part).update(attributes[0][name])
        return found

    def _gather(self, plain: list[tuple[float, list[Tensor | None], dict[str, Tensor]]]) -> None:
        """Stack what differs between members or changes on the way; the rest is the template's."""
        _, gradients, _ = plain[0]
        if any([g is None for g in other] != [g is None for g in gradients] for _, other, _ in plain):
            raise Refused("different parameters get gradients in different runs")
        self.active = [i for i, g in enumerate(gradients) if g is not None]
        first = self.trainings[0].model
        places = places_of(first)
        parameters = {name for name, _ in first.named_parameters()}
        own = [dict([*t.model.named_parameters(), *t.model.named_buffers()]) for t in self.trainings]
        self.names = []
        for name in places:
            columns = [tensors[name].detach() for tensors in own]
            if any(c.shape != columns[0].shape or c.dtype != columns[0].dtype for c in columns):
                raise Refused("the models of different seeds have different shapes")
            if columns[0].device.type != "cpu":
                raise Refused("the model is not on the CPU")
            moves = any(not torch.equal(buffers[name], columns[0]) for _, _, buffers in plain if name in buffers)
            if name in parameters or moves or any(not torch.equal(c, columns[0]) for c in columns[1:]):
                self.names.append(name)
        self._stack()

    def _stack(self) -> None:
        """Lay the members' tensors together, and give each member its part."""
        held = [places_of(training.model) for training in self.trainings]
        first = dict(self.trainings[0].model.named_parameters())
        self.stacked: dict[str, Tensor] = {}
        for name in self.names:
            columns = [_held(places[name]).detach() for places in held]
            together = self.stacked[name] = torch.stack(columns)
            for places, part in zip(held, together, strict=True):
                _give(places[name], part)
            if name in first and first[name].requires_grad:
                together.requires_grad_()
        numbers = {id(p): i for i, p in enumerate(self.trainings[0].parameters)}
        order = {numbers[id(first[name])]: name for name in self.names if name in first and id(first[name]) in numbers}
        self.order = [order[i] for i in self.active]
        self.parameters = [self.stacked[name] for name in self.order]
        self.vectorised = Vectorised(self.task.loss, self.template, self.names, self.batching)
        self.way: Callable[[Sequence[Tensor], Any], Answer] = self._pass

    def _odd(self, plain: list[tuple[float, list[Tensor | None], dict[str, Tensor]]]) -> list[Training]:
        """Those whose first loss, gradients or buffers are not the plain loop's; nothing is changed by looking."""
        before = {name: tensor.detach().clone() for name, tensor in self.stacked.items() if not tensor.requires_grad}
        states = [stream.get_state() for stream in self.streams]
        losses, gradients = self.losses_and_gradients()
        after = {name: self.stacked[name].clone() for name in before}
        for name, value in before.items():
            self.stacked[name].copy_(value)
        for stream, state in zip(self.streams, states, strict=True):
            stream.set_state(state)
        odd = []
        for k, (loss, own, buffers) in enumerate(plain):
            wanted = [own[i] for i in self.active]
            whole = torch.stack([g.norm() for g in wanted if g is not None]).norm()
            pairs = [(torch.tensor(losses[k]), torch.tensor(loss), max(abs(loss), 1e-6))]
            pairs += [
                (g[k], w, max(w.norm(), whole * 1e-3)) for g, w in zip(gradients, wanted, strict=True) if w is not None
            ]
            pairs += [(after[n][k], buffers[n], buffers[n].float().norm() + 1e-6) for n in before if n in buffers]
            if any(self._far(*pair) for pair in pairs):
                odd.append(self.trainings[k])
        return odd

    def _far(self, found: Tensor, expected: Tensor, size: Any) -> bool:
        """Whether they differ by more than sums in another order do, in a share of the size."""
        close = CLOSE.get(self.parameters[0].dtype, CLOSE[torch.float32])
        finite = torch.isfinite(expected)
        far = torch.where(finite, found - expected, 0).float().norm()
        return not torch.equal(torch.isfinite(found), finite) or bool(far > close * size)

    def _join(self) -> None:
        """One step for all optimizers of a kind, and one schedule for all."""
        optimizers: list[Any] = [training.optimizer for training in self.trainings]
        if not all(isinstance(optimizer, Optimizer) for optimizer in optimizers):
            raise Refused("a minimizer evaluates the loss itself")
        params = [[training.parameters[i] for i in self.active] for training in self.trainings]
        self.together: list[tuple[slice, Together]] = []
        for _, same in itertools.groupby(range(len(optimizers)), key=lambda k: kind(optimizers[k])):
            members = list(same)
            part = slice(members[0], members[-1] + 1)
            try:
                own = Together(optimizers[part], params[part], [p.detach()[part] for p in self.parameters])
            except ValueError as error:
                raise Refused(str(error)) from error
            self.together.append((part, own))
        self.groups = _Groups([optimizer.param_groups[0] for optimizer in optimizers])
        self.scheduler = self.schedule(self.groups, self.trainings[0].steps)
        self.groups.step()  # a schedule warns if it has not seen one
        for _ in range(self.step):
            self.scheduler.step()

    # ---- going on

    def losses_and_gradients(self) -> tuple[list[float], list[Tensor]]:
        """Of every member, on the batches at hand."""
        losses, gradients = self.way(self.parameters, self.merged)
        return losses.tolist(), gradients

    def _pass(self, parameters: Sequence[Tensor], merged: Any) -> Answer:
        tensors = {**self.stacked, **dict(zip(self.order, parameters, strict=True))}
        losses = self.vectorised(merged, [tensors[name] for name in self.names])
        # Members do not meet, so the gradient of the sum is every member's own.
        return losses, list(torch.autograd.grad(losses.sum(), parameters))

    def capture(self, steps: int) -> None:
        """Let the operations be recorded, if they are the same at every step and there are enough steps to go."""
        if steps >= STEPS and not self.batching.drew and len(self.order) == len(self.stacked):
            self.way = Captured(self._pass)

    def update(self, gradients: Sequence[Tensor]) -> None:
        """Step every member's optimizer and schedule."""
        for part, together in self.together:
            together.step([g[part] for g in gradients])
        self.scheduler.step()

    def advance(self, until: int, keep: Callable[[], None], interval: float) -> None:
        """Train to a step; then every member has what is its own, and may go on alone. See `train_together`."""
        self.until = until
        self.capture(until - self.step)
        last = time.monotonic()
        while self.step < until and any(training.why is None for training in self.trainings):
            if self.step > self.start:
                self.batch, self.merged = self._next()
            losses, gradients = self.losses_and_gradients()
            going = [training for training in self.trainings if training.why is None]
            for training, loss in zip(self.trainings, losses, strict=True):
                if training in going:
                    training.goes_on(loss)
            self.update(gradients)
            self.step += 1
            for training in going:
                if training.why is None:
                    training.stepped()
            if any(training.why is not None for training in going):
                self._drop()
            elif time.monotonic() - last >= interval and len(going) > 1 and self.step < until:
                # One that is left alone keeps the company of ended ones, which could not be begun again from here.
                self._part()
                keep()
                self._rejoin()
                last = time.monotonic()
        self._part()

    def _drop(self) -> None:
        """Let go of those that have ended, and move the others together.

        The last one keeps company: products of one member may be rounded otherwise than those of several.
        """
        rest = [k for k, training in enumerate(self.trainings) if training.why is None]
        ended = [k for k in range(len(self.trainings)) if k not in rest]
        rest = sorted([*rest, *ended[: max(0, 2 - len(rest))]])
        if len(rest) == len(self.trainings) or all(self.trainings[k].why is not None for k in rest):
            return
        self._part()
        self.trainings = [self.trainings[k] for k in rest]
        self.streams = self.batching.streams = [self.streams[k] for k in rest]
        self._rejoin()

    def _rejoin(self) -> None:
        self._stack()
        self._join()
        self.capture(self.until - self.step)

    def _part(self) -> None:
        """Give every member its tensors, counters and place in the data."""
        for _, together in self.together:
            together.part()
        constant = {name: b for name, b in self.template.named_buffers() if name not in self.stacked}
        leading = self._leading()
        for training, stream in zip(self.trainings, self.streams, strict=True):
            places = places_of(training.model)
            for name in self.stacked:
                _give(places[name], _held(places[name]).detach().clone())
            for name, value in constant.items():
                if name in places:
                    _held(places[name]).copy_(value)
            training.own = [stream.get_state(), *training.own[1:]]
            if training is not leading[training.seed]:
                training.batches = self.task.batches(training.seed, leading[training.seed].batches.position)
            if training.step < training.steps:  # it may go on: its own schedule has to be where it is
                training.optimizer.step()  # nothing has a gradient: torch wants to see a step before a schedule's
                for _ in range(training.step - getattr(training.scheduler, "last_epoch", 0)):
                    training.scheduler.step()


class _Groups(torch.optim.Optimizer):
    """The groups of all members under one schedule."""

    def __init__(self, groups: list[dict[str, Any]]):
        super().__init__([torch.zeros(1)], {})
        self.param_groups = groups

    def step(self, closure: Any = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Nothing: the schedule wants to see it called."""


def _held(places: Sequence[tuple[dict[str, Any], str]]) -> Tensor:
    held, key = places[0]
    return held[key]


def _give(places: Sequence[tuple[dict[str, Any], str]], tensor: Tensor) -> None:
    """Let a model hold this tensor: a parameter stays the same object, a buffer is replaced."""
    for held, key in places:
        if isinstance(held[key], nn.Parameter):
            held[key].data = tensor.detach()
        else:
            held[key] = tensor


def _attributes(model: nn.Module) -> dict[str, dict[str, Any]]:
    """The counters and flags that modules keep beside their tensors."""
    return {
        name: {key: v for key, v in vars(part).items() if isinstance(v, int | float | str) and key != "training"}
        for name, part in model.named_modules()
    }


def _refuse_hidden_tensors(model: nn.Module, first: nn.Module) -> None:
    """Tensors that a module keeps as plain attributes are not stacked, so they must be the same for all."""
    for (_, part), (_, other) in zip(model.named_modules(), first.named_modules(), strict=True):
        for key, value in vars(part).items():
            if isinstance(value, Tensor):
                theirs = getattr(other, key, None)
                if not isinstance(theirs, Tensor) or theirs.shape != value.shape or not torch.equal(theirs, value):
                    raise Refused(f"a module keeps a tensor, {key}, that is neither parameter nor buffer")


def _differ(a: Any, b: Any) -> bool:
    return pickle.dumps(a) != pickle.dumps(b)
