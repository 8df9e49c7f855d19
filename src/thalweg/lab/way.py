"""Together or one after the other? Decided by a few steps of both, within the memory that is there.

What was decided is a small record: kept with the runs, it makes a comparison that goes on, or is repeated, train the
same trials together.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from thalweg.lab import worker
from thalweg.lab.captured import TRIALS, Captured
from thalweg.lab.plan import Trial
from thalweg.lab.randomness import undisturbed
from thalweg.lab.stacked import FindSchedule, Stack
from thalweg.lab.task import Task
from thalweg.lab.train import Configure, Training
from thalweg.lab.vectorised import Refused, refusal

SIZES = (8, 32)  # members that are tried
STEPS = 8  # timed, after one that is not
ENOUGH = 1.0  # CPU seconds, after which no more are
WORTH = 1.05  # how much faster it must be
MEMBER_STEPS = (STEPS + 3 + TRIALS) * (1 + sum(SIZES))  # that are taken in all, at most
PATIENCE = 3.0  # CPU seconds for a step of the smaller size above which the larger is not tried
SHARE = 0.5  # of the free memory that members may take


@dataclass(frozen=True)
class Way:
    """How trials are trained.

    Attributes:
        members: at most so many as one; 1 means one after the other.
        least: fewer than that are not worth it.
        why: one sentence.
        loop, together: CPU seconds that a member's step took in both ways, None where it was not measured.
    """

    members: int = 1
    least: int = 1
    why: str = "it was not asked for"
    loop: float | None = None
    together: float | None = None

    def chunks(self, trials: Sequence[Trial], apart: Collection[str] = (), jobs: int = 1) -> list[list[Trial]]:
        """Trials that are trained as one; a chunk of one is trained alone.

        Args:
            trials: of a stage.
            apart: optimizers that share no chunk with others.
            jobs: so many chunks at least, as far as all of them are worth it.
        """
        if self.members == 1:
            return [[trial] for trial in trials]
        alike: dict[Any, list[Trial]] = {}
        for trial in trials:
            of = trial.optimizer if trial.optimizer in apart else None
            alike.setdefault((of, trial.schedule, trial.steps, trial.end), []).append(trial)
        made, least = [], max(2, self.least)
        for same in alike.values():
            first = {trial.optimizer: i for i, trial in reversed(list(enumerate(same)))}
            same.sort(key=lambda trial, first=first: first[trial.optimizer])  # few optimizers in a chunk: few steps
            parts = max(math.ceil(len(same) / self.members), min(jobs, len(same) // max(least, SIZES[0])))
            ends = [len(same) * i // parts for i in range(parts + 1)]
            for part in [same[a:b] for a, b in itertools.pairwise(ends)]:
                made += [part] if len(part) >= least else [[trial] for trial in part]
        return made


def decide(task: Task, configure: Configure, schedule: FindSchedule, steps: int, seed: int = 0, jobs: int = 1) -> Way:
    """Take a few steps both ways.

    Args:
        task: what is trained.
        configure: makes the optimizer and its schedule, as for `train`.
        schedule: what makes the schedule.
        steps: of a run. seed: of the members.
        jobs: processes that share the memory.
    """
    keep_freed_memory()

    def training() -> Training:
        return Training(task, configure, seed=seed, steps=max(steps, 2 * STEPS + 2))

    with undisturbed(), torch.enable_grad():
        try:
            loop, needed = _loop(training())
        except Exception as error:  # the task's own: its runs will meet it as well, and say so
            return Way(why=f"the task raised {type(error).__name__}")
        free = worker.available()
        share = math.inf if free is None else free * SHARE / jobs
        found: dict[int, float] = {}
        for size in SIZES:
            if size * needed > share:
                reason = f"{size} members would need {size * needed / 2**20:.0f} MB"
                return _chosen(loop, found) if found else Way(why=reason, loop=loop)
            try:
                found[size] = _together(Stack(task, [training() for _ in range(size)], schedule), steps) / size
            except Refused as refused:
                return Way(why=str(refused), loop=loop)
            except Exception as error:  # of many types: what vmap cannot do, and what is the task's own
                return Way(why=refusal(error), loop=loop)
            if found[size] * size > PATIENCE:
                break
    return _chosen(loop, found)


def _chosen(loop: float, found: dict[int, float]) -> Way:
    size = min(found, key=lambda n: found[n])
    if found[size] * WORTH > loop:
        return Way(why=f"{size} at once take {found[size] / loop:.2f} of the time", loop=loop, together=found[size])
    # A step of n members takes about a + b n.
    least = 2
    if len(found) > 1:
        small, large = SIZES
        b = (found[large] * large - found[small] * small) / (large - small)
        a = (found[small] - b) * small
        bound = loop / WORTH - b
        least = max(2, min(size, math.ceil(a / bound))) if bound > 0 else size
    elif found:
        least = size
    return Way(size, least, f"{size} at once are {loop / found[size]:.1f} times as fast", loop, found[size])


def _loop(training: Training) -> tuple[float, float]:
    """Seconds of a plain step, and the bytes that one more member needs."""
    kept: dict[int, int] = {}

    def note(x: torch.Tensor) -> torch.Tensor:
        storage = x.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return x

    def step() -> None:
        training.optimizer.zero_grad()
        loss = training.task.loss(training.model.train(), next(training.batches))
        loss.item()
        loss.backward()
        training.optimizer.step()
        training.scheduler.step()

    with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
        step()
    numbers = sum(p.nbytes for p in training.parameters)
    return _seconds(step), 2 * sum(kept.values()) + 8 * numbers


def _together(stack: Stack, steps: int) -> float:
    def step() -> None:
        _, gradients = stack.losses_and_gradients()
        stack.update(gradients)

    stack.capture(steps)
    while isinstance(stack.way, Captured) and not stack.way.settled:
        step()
    return _seconds(step)


def _seconds(step: Callable[[], None]) -> float:
    """CPU seconds of a call, the least of a few after one that is not counted: a busy machine only adds to it."""
    times: list[float] = []
    step()
    while len(times) < STEPS and sum(times) < ENOUGH:
        begun = time.process_time()
        step()
        times.append(time.process_time() - begun)
    return min(times)


@functools.cache
def keep_freed_memory() -> None:
    """Let this process keep what it frees (glibc), to use it again in the next step.

    The tensors of all members are large enough for malloc to give them back to the system after every use, and to
    have them cleared page by page before the next: up to half of a step's time.
    """
    try:
        libc = ctypes.CDLL("libc.so.6")
    except OSError:
        return
    trim_threshold, mmap_threshold = -1, -3
    libc.mallopt(trim_threshold, 2**31 - 1)
    libc.mallopt(mmap_threshold, 2**30)
