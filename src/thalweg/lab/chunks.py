"""Trials as work for a process: alone, or several trained as one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from thalweg import schedule as schedules
from thalweg.lab.arithmetic import settled
from thalweg.lab.events import Event, Finished, Progress, Started
from thalweg.lab.measured import Measurement
from thalweg.lab.plan import Trial
from thalweg.lab.pool import Trainer
from thalweg.lab.run import Run
from thalweg.lab.stacked import train_together
from thalweg.lab.task import Task
from thalweg.lab.vectorised import Refused
from thalweg.lab.way import Way, keep_freed_memory


@dataclass(frozen=True)
class Chunk:
    """Trials that are trained as one, those of an optimizer beside each other."""

    trials: tuple[Trial, ...]

    @property
    def optimizers(self) -> list[str]:
        """Theirs."""
        return list(dict.fromkeys(trial.optimizer for trial in self.trials))

    def apart(self) -> list[Chunk]:
        """One for each optimizer that has more than one trial."""
        own = [tuple(trial for trial in self.trials if trial.optimizer == name) for name in self.optimizers]
        return [Chunk(trials) for trials in own if len(trials) > 1]


@dataclass(frozen=True)
class Chunked:
    """What they came to, or why they must be trained one after the other."""

    runs: tuple[Run, ...] = ()
    refused: str = ""


@dataclass(frozen=True)
class Work:
    """Does a trial or a chunk of them: what a process of the lab is sent."""

    trainer: Trainer

    @property
    def task(self) -> Task:
        """What is trained."""
        return self.trainer.task

    def __call__(self, work: Any) -> Any:
        """The run of a trial; of a chunk, what it came to; the answer of a measurement."""
        if isinstance(work, Measurement):
            with settled():
                return work.measure(self.task, self.trainer.candidate(work.optimizer), *work.given)
        return self._together(work.trials) if isinstance(work, Chunk) else self.trainer(work)

    def _together(self, trials: Sequence[Trial]) -> Chunked:
        keep_freed_memory()
        trainings = [self.trainer.begun(trial) for trial in trials]
        if len({training.step for training in trainings if training.why is None}) > 1:
            # Killed while their states were written.
            trainings = [self.trainer.begun(trial, anew=True) for trial in trials]
        states = self.trainer.states
        keep = None if states is None else lambda: states.keep_all(zip(trials, trainings, strict=True))
        candidate = self.trainer.candidate(trials[0].optimizer)
        find = schedules.find(candidate.schedule(trials[0].schedule))
        try:
            train_together(self.task, trainings, find, trials[0].until, keep, self.trainer.interval)
        except Refused as refused:
            return Chunked(refused=str(refused))
        runs = [self.trainer.ended(trial, training) for trial, training in zip(trials, trainings, strict=True)]
        return Chunked(tuple(runs))


class Stacking:
    """Performs trials, those that are alike as one; what is refused, or fails, is done one after the other.

    A trial is trained the same way whatever else is asked for: with the others of its chunk, or with one of them
    where the rest is known already. A member's numbers do not depend on how many are beside it, nor on whose they
    are. Where optimizers that share a chunk are refused, each of them is tried by itself.

    Args:
        perform: does a list of trials and chunks, with `Work` where the work is.
        way: how many, at most and at least.
        apart: names of optimizers that share no chunk with others.
        jobs: processes that shall have something to do.

    Attributes:
        stage: the trials among which chunks are made; when it is empty, those that are asked for.
    """

    def __init__(
        self,
        perform: Callable[..., Any],
        way: Way,
        apart: Collection[str] = (),
        jobs: int = 1,
    ):
        self.perform, self.way, self.apart, self.jobs = perform, way, set(apart), jobs
        self.stage: Sequence[Trial] = ()
        self._alone: dict[Trial, str] = {}  # why

    def __call__(self, trials: Sequence[Trial], report: Progress) -> list[Run]:
        """The runs, in the order of the trials."""
        wanted, parts = set(trials), []
        for part in self.way.chunks(self.stage or trials, self.apart, self.jobs):
            mine = [trial for trial in part if trial in wanted and trial not in self._alone]
            if len(part) > 1 and mine:
                others = [trial for trial in part if trial not in mine]
                parts.append(Chunk(tuple(mine if len(mine) > 1 else [*mine, *others[:1]])))
        taken = {trial for chunk in parts for trial in chunk.trials}
        runs: dict[Trial, Run] = {}

        def translated(event: Event) -> None:
            if not isinstance(event, Started | Finished) or not isinstance(event.trial, Chunk):
                if isinstance(event, Finished):
                    event = replace(event, run=replace(event.run, alone=self._alone.get(event.trial)))
                    runs[event.trial] = event.run
                report(event)
            elif isinstance(event, Started):
                for trial in event.trial.trials:
                    if trial in wanted:
                        report(Started(trial))
            elif isinstance(event.run, Chunked):
                for trial, run in zip(event.trial.trials, event.run.runs, strict=False):  # none if refused
                    if trial in wanted:
                        runs[trial] = run
                        report(Finished(trial, run))

        alone = [trial for trial in trials if trial not in taken]
        while parts or alone:
            answers = self.perform([*parts, *alone], translated)
            smaller = [self._smaller(*answered) for answered in zip(parts, answers, strict=False)]
            parts, alone = list(itertools.chain(*smaller)), []
        rest = [trial for trial in trials if trial not in runs]
        if rest:
            self.perform(rest, translated)
        return [runs[trial] for trial in trials]

    def _smaller(self, chunk: Chunk, answer: Any) -> list[Chunk]:
        """The chunks to try instead of one that was refused, or failed."""
        why = answer.refused if isinstance(answer, Chunked) else answer.error
        if not why:
            return []
        smaller = chunk.apart() if len(chunk.optimizers) > 1 else []
        left = {trial for each in smaller for trial in each.trials}
        self._alone |= {trial: why for trial in chunk.trials if trial not in left}
        if len(chunk.optimizers) == 1:
            self.apart.update(chunk.optimizers)
        return smaller


def limited(limit: Callable[[Sequence[Trial]], float]) -> Callable[[Any], float]:
    """The seconds that a trial, a chunk or a measurement may take."""

    def seconds(work: Any) -> float:
        if isinstance(work, Measurement):
            return work.seconds
        return limit(work.trials if isinstance(work, Chunk) else [work])

    return seconds
