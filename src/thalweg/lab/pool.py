"""Who does the runs: this process, or several of one thread each. The numbers are the same.

`solo` and `processes` are contexts that give a function `(trials, report) -> runs`; the runs come in the
order of the trials, whichever ended first.
"""

from __future__ import annotations

import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from thalweg.extras import require
from thalweg.lab.candidates import Candidate
from thalweg.lab.events import Finished, Progress, Started
from thalweg.lab.plan import Trial
from thalweg.lab.states import States
from thalweg.lab.task import Task, TaskError
from thalweg.lab.train import Run, Training

Perform = Callable[[Sequence[Trial], Progress], list[Run]]


class RunError(RuntimeError):
    """A run raised: the sentence says which. `details` is the traceback, also when it came from a worker."""

    def __init__(self, sentence: str, details: str):
        super().__init__(sentence)
        self.details = details


@dataclass(frozen=True)
class Trainer:
    """Turns a trial into a run: all that a process needs to know, sent to it once.

    `states` is where runs that may go on are kept; without it, they begin again.
    """

    task: Task
    candidates: Sequence[Candidate]
    states: States | None = None

    def __call__(self, trial: Trial) -> Run:
        """Train, from where the run was left if it was."""
        training = self._begun(trial)
        if self.states is not None and self.states.load(trial, training) is False:
            training = self._begun(trial)  # half a state may have been loaded
        training.advance(trial.until)
        run = training.run()
        if self.states is not None:
            if trial.end < trial.steps and not run.diverged:
                self.states.keep(trial, training)
            else:
                self.states.drop(trial)
        return run

    def _begun(self, trial: Trial) -> Training:
        candidate = next(c for c in self.candidates if c.name == trial.optimizer)
        configure = candidate.configure(dict(trial.hyper), trial.schedule)
        return Training(self.task, configure, seed=trial.seed, steps=trial.steps, data=trial.data)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread, as every process of the lab does; put back what it was."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def solo(trainer: Trainer) -> Iterator[Perform]:
    """Run in this process, one trial after the other."""

    def perform(trials: Sequence[Trial], report: Progress) -> list[Run]:
        runs = []
        for trial in trials:
            report(Started(trial))
            try:
                run = trainer(trial)
            except Exception as error:
                raise RunError(_which(trial, error), traceback.format_exc()) from error
            runs.append(run)
            report(Finished(trial, run))
        return runs

    with one_thread():
        yield perform


@contextmanager
def processes(trainer: Trainer, jobs: int) -> Iterator[Perform]:
    """Run in `jobs` processes of one thread each; they are ended, busy or not, when the context is left."""
    try:
        payload = require("cloudpickle").dumps(trainer)
    except Exception as error:
        raise TaskError(
            f"task {trainer.task.name!r} cannot be sent to other processes ({type(error).__name__}: {error}); "
            "use jobs=1"
        ) from error
    executor = require("loky").ProcessPoolExecutor(
        jobs,
        initializer=_begin,
        initargs=(payload,),
        env={"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )

    def perform(trials: Sequence[Trial], report: Progress) -> list[Run]:
        runs: dict[int, Run] = {}
        waiting = list(enumerate(trials))[::-1]
        busy: dict[Future, int] = {}
        while waiting or busy:
            while waiting and len(busy) < jobs:  # no more than can run, so that `Started` is true
                number, trial = waiting.pop()
                busy[executor.submit(_perform, trial)] = number
                report(Started(trial))
            for future in wait(busy, return_when=FIRST_COMPLETED).done:
                number = busy.pop(future)
                runs[number] = _unwrapped(trials[number], future)
                report(Finished(trials[number], runs[number]))
        return [runs[number] for number in range(len(trials))]

    try:
        yield perform
    finally:
        executor.shutdown(wait=True, kill_workers=True)


def _unwrapped(trial: Trial, future: Future) -> Run:
    try:
        result = future.result()
    except Exception as error:  # not the task's: those come back as _Failure
        raise RunError(
            f"the process that ran {_described(trial)} died ({type(error).__name__}); is there enough memory?",
            traceback.format_exc(),
        ) from error
    if isinstance(result, _Failure):
        raise RunError(result.sentence, result.details)
    return result


def _which(trial: Trial, error: Exception) -> str:
    return f"{_described(trial)} raised {type(error).__name__}: {error}"


def _described(trial: Trial) -> str:
    settings = ", ".join(f"{name}={value:g}" for name, value in trial.hyper)
    return f"the run of {trial.optimizer} with {settings} from seed {trial.seed} ({trial.phase})"


# ---- in a worker process


@dataclass(frozen=True)
class _Failure:
    """An exception on its way home: as text, since not every exception can be sent."""

    sentence: str
    details: str


_payload: bytes = b""
_trainer: Any = None


def _begin(payload: bytes) -> None:
    global _payload
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    torch.set_num_threads(1)
    _payload = payload


def _perform(trial: Trial) -> Run | _Failure:
    global _trainer
    try:
        if _trainer is None:
            _trainer = require("cloudpickle").loads(_payload)
        return _trainer(trial)
    except Exception as error:
        return _Failure(_which(trial, error), traceback.format_exc())
