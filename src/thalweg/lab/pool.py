"""Who does the runs: this process, or several of one thread each. The numbers are the same.

`solo` and `processes` are contexts that give a function `(trials, report) -> runs`; the runs come in the
order of the trials, whichever ended first. A run that raises, crashes, hangs or takes too much memory is one
failed run.
"""

from __future__ import annotations

import os
import re
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from thalweg.extras import require
from thalweg.lab import worker
from thalweg.lab.arithmetic import settled
from thalweg.lab.candidates import Candidate
from thalweg.lab.cost import memory_of
from thalweg.lab.events import Finished, Perform, Progress, Started
from thalweg.lab.faults import failed, hung
from thalweg.lab.plan import Trial
from thalweg.lab.run import Run
from thalweg.lab.states import States
from thalweg.lab.task import RAISED, Task, TaskError
from thalweg.lab.train import Training, measure

STRETCH = 1.0  # seconds of training, about, between two looks at the clock


@dataclass(frozen=True)
class Trainer:
    """Turns a trial into a run: all that a process needs to know, sent to it once.

    `states` is where runs that may go on are kept, and every `interval` seconds those that take long; without it,
    they begin again.
    """

    task: Task
    candidates: Sequence[Candidate]
    states: States | None = None
    interval: float = 30.0

    def __call__(self, trial: Trial) -> Run:
        """Train, from where the run was left if it was."""
        training = self.begun(trial)
        self._advance(training, trial)
        return self.ended(trial, training)

    def candidate(self, name: str) -> Candidate:
        """The candidate of that name."""
        return next(c for c in self.candidates if c.name == name)

    def begun(self, trial: Trial, anew: bool = False) -> Training:
        """A trial's training, where it was left if it was, unless it is to begin anew."""
        training = self._begun(trial)
        if anew or self.states is None or not self.states.has(trial):
            return training
        if not self.states.load(trial, training) or training.step > trial.end:
            training = self._begun(trial)  # half a state may have been loaded, or one of a longer leg
        return training

    def ended(self, trial: Trial, training: Training) -> Run:
        """What a trial has come to; where its run is kept if it may go on."""
        run = replace(training.run(), memory=memory_of(training.model, training.optimizer))
        if trial.phase == "choice" and run.final is not None:
            run = replace(run, reported=measure(self.task, training.model, self.task.reports))
        if self.states is not None:
            if trial.end < trial.steps and not run.diverged:
                self.states.keep(trial, training)
            else:
                self.states.drop(trial)
        return run

    def _advance(self, training: Training, trial: Trial) -> None:
        """Train to the end of the trial, with a pause now and then to keep the state."""
        kept, stretch = time.monotonic(), 1
        while True:
            begun = time.monotonic()
            training.advance(min(trial.end, training.step + stretch))
            if training.step >= trial.end or training.why is not None:
                return
            now = time.monotonic()
            stretch *= 2 if now - begun < STRETCH / 2 else 1
            if self.states is not None and now - kept >= self.interval:
                self.states.keep(trial, training)
                kept = now

    def _begun(self, trial: Trial) -> Training:
        configure = self.candidate(trial.optimizer).configure(dict(trial.hyper), trial.schedule)
        if torch.cuda.is_initialized():
            torch.cuda.reset_peak_memory_stats()
        return Training(self.task, configure, seed=trial.seed, steps=trial.steps, data=trial.data)


@contextmanager
def solo(trainer: Trainer) -> Iterator[Perform]:
    """Run in this process, one trial after the other; what crashes or hangs takes the comparison with it."""

    def perform(trials: Sequence[Trial], report: Progress) -> list[Run]:
        runs = []
        for trial in trials:
            report(Started(trial))
            begun = time.monotonic()
            try:
                run = trainer(trial)
            except RAISED as error:
                sentence, details = f"{type(error).__name__}: {error}", traceback.format_exc()
                run = failed(sentence, details, time.monotonic() - begun)
            runs.append(run)
            report(Finished(trial, run))
        return runs

    with settled():
        yield perform


@contextmanager
def processes(trainer: Trainer, jobs: int, limit: Callable[[Trial], float] | None = None) -> Iterator[Perform]:
    """Run in `jobs` processes of one thread each; they are ended, busy or not, when the context is left.

    Args:
        trainer: makes a run of a trial.
        jobs: number of processes.
        limit: seconds after which a run is stopped. Default: never.
    """
    payload = sent(trainer, trainer.task)
    free = worker.available()
    with TemporaryDirectory(prefix="thalweg-", ignore_cleanup_errors=True) as folder:
        slots = [_Slot(payload, Path(folder) / f"{i}.log", None if free is None else free // jobs) for i in range(jobs)]
        try:
            yield lambda trials, report: shared(slots, trials, report, limit)
        finally:
            for slot in slots:
                slot.end()


def sent(trainer: Any, task: Task, pickled: Callable[[Any], bytes] | None = None) -> bytes:
    """The trainer of a task for another process, pickled as said, by cloudpickle without a word.

    Raises:
        TaskError: the task holds something that cannot be sent.
    """
    try:
        return (pickled or require("cloudpickle").dumps)(trainer)
    except Exception as error:
        raise TaskError(
            f"task {task.name!r} cannot be sent to other processes ({type(error).__name__}: {error}); use jobs=1"
        ) from error


def shared(
    slots: Sequence[Any], trials: Sequence[Trial], report: Progress, limit: Callable[[Trial], float] | None
) -> list[Run]:
    """The runs of trials by slots, each of which gets the next one as soon as its process is ready for it."""
    runs: dict[int, Run] = {}
    waiting = deque(enumerate(trials))
    opening: dict[Future, Any] = {slot.open(): slot for slot in slots[: len(trials)]}
    busy: dict[Future, tuple[int, Any, float]] = {}
    while waiting or busy:
        soonest = min((late for _, _, late in busy.values()), default=float("inf")) - time.monotonic()
        watched = [*busy, *(opening if waiting else ())]
        ended = wait(watched, min(max(soonest, 0.0), 3600.0), FIRST_COMPLETED).done
        for future in opening.keys() & ended:
            slot = opening.pop(future)
            if waiting:  # no more than can run, so that `Started` is true
                number, trial = waiting.popleft()
                late = time.monotonic() + (limit(trial) if limit else float("inf"))
                busy[slot.begin(trial)] = number, slot, late
                report(Started(trial))
        now = time.monotonic()
        for future in [future for future, (_, _, late) in busy.items() if future in ended or late <= now]:
            number, slot, _ = busy.pop(future)
            runs[number] = slot.run(future)
            if waiting:
                opening[slot.open()] = slot
            report(Finished(trials[number], runs[number]))
    return [runs[number] for number in range(len(trials))]


class _Slot:
    """A place for one run at a time, in a process of its own, so that what breaks one process breaks one run."""

    def __init__(self, payload: bytes, log: Path, memory: int | None):
        self._given, self._log, self._memory = (payload, str(log), memory, os.getpid()), log, memory
        self._executor: Any = None
        self._process: Any = None
        self._begun = 0.0

    def open(self) -> Future:
        """Start the process, if there is none; what has come when it is ready."""
        if self._executor is None:
            self._executor = require("loky").ProcessPoolExecutor(
                1,
                initializer=worker.begin,
                initargs=self._given,
                env={"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            )
            self._process = self._executor.submit(worker.ready)
        return self._process

    def begin(self, trial: Trial) -> Future:
        """Begin a run; the process is ready."""
        self._begun = time.monotonic()
        if self._process.exception() is not None:  # it has died on the way; `run` will say so
            return self._process
        return self._executor.submit(worker.work, trial)

    def run(self, future: Future) -> Run:
        """What came of it: a run, or a failed one. A future that has not ended is one that takes too long."""
        seconds = time.monotonic() - self._begun
        if not future.done():
            said = worker.last_words(self._log, self._process.result())
            self.end()
            return hung(said, seconds)
        try:
            came = future.result()
        except Exception as error:  # not the task's: those come back as text
            said = worker.last_words(self._log)
            self.end()
            return failed(f"Died: {_how(error, self._memory)}", said, seconds)
        if not isinstance(came, tuple):
            return came
        sentence, details = came
        return failed(sentence, details, seconds)

    def end(self) -> None:
        """End the process, busy or not; the next run gets a new one."""
        if self._executor is not None:
            self._executor.shutdown(wait=True, kill_workers=True)
            self._executor = None


def _how(error: Exception, memory: int | None) -> str:
    of = "" if memory is None else f" of {memory / 2**30:.1f} GB"
    killed = f"; was there enough memory? Fewer jobs leave more than its share{of}" if "SIGKILL" in str(error) else ""
    code = re.search(r"(SIG\w+|EXIT\(\d+\))", str(error))  # as loky names them
    how = type(error).__name__ if code is None else code[1].replace("EXIT(", "exit code ").rstrip(")")
    return f"its process ended ({how}){killed}"
