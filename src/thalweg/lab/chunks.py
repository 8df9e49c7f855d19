"""Trials as work for a process: alone, or several trained as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from thalweg import schedule as schedules
from thalweg.lab.events import Event, Finished, Progress, Started
from thalweg.lab.plan import Trial
from thalweg.lab.pool import Trainer
from thalweg.lab.stacked import train_together
from thalweg.lab.task import Task
from thalweg.lab.train import Run
from thalweg.lab.vectorised import Refused
from thalweg.lab.way import Way, keep_freed_memory


@dataclass(frozen=True)
class Chunk:
    """Trials of one optimizer that are trained as one."""

    trials: tuple[Trial, ...]

    @property
    def optimizer(self) -> str:
        """Theirs."""
        return self.trials[0].optimizer


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
        """The run of a trial; of a chunk, what it came to."""
        return self._together(work.trials) if isinstance(work, Chunk) else self.trainer(work)

    def _together(self, trials: Sequence[Trial]) -> Chunked:
        keep_freed_memory()
        trainings = [self.trainer.begun(trial) for trial in trials]
        candidate = next(c for c in self.trainer.candidates if c.name == trials[0].optimizer)
        find = schedules.find(candidate.schedule(trials[0].schedule))
        try:
            train_together(self.task, trainings, find, trials[0].until)
        except Refused as refused:
            return Chunked(refused=str(refused))
        runs = [self.trainer.ended(trial, training) for trial, training in zip(trials, trainings, strict=True)]
        return Chunked(tuple(runs))


class Stacking:
    """Performs trials, those that are alike as one; what is refused, or fails, is done one after the other.

    A trial is trained the same way whatever else is asked for: with the others of its chunk, or with one of them
    where the rest is known already. A member's numbers do not depend on how many are beside it.

    Args:
        perform: does a list of trials and chunks, with `Work` where the work is.
        way: how many, at most and at least.
        told: called with a sentence when a chunk was refused.

    Attributes:
        stage: the trials among which chunks are made; when it is empty, those that are asked for.
    """

    def __init__(self, perform: Callable[..., Any], way: Way, told: Callable[[str], None]):
        self.perform, self.way, self.told = perform, way, told
        self.stage: Sequence[Trial] = ()
        self._alone: set[Trial] = set()

    def __call__(self, trials: Sequence[Trial], report: Progress) -> list[Run]:
        """The runs, in the order of the trials."""
        wanted, parts = set(trials), []
        for part in self.way.chunks(self.stage or trials):
            mine = [trial for trial in part if trial in wanted and trial not in self._alone]
            if len(part) > 1 and mine:
                others = [trial for trial in part if trial not in mine]
                parts.append(Chunk(tuple(mine if len(mine) > 1 else [*mine, *others[:1]])))
        taken = {trial for chunk in parts for trial in chunk.trials}
        runs: dict[Trial, Run] = {}

        def translated(event: Event) -> None:
            if not isinstance(event, Started | Finished) or not isinstance(event.trial, Chunk):
                if isinstance(event, Finished):
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

        work = [*parts, *(trial for trial in trials if trial not in taken)]
        for chunk, answer in zip(parts, self.perform(work, translated), strict=False):
            why = answer.refused if isinstance(answer, Chunked) else answer.error
            if why:
                self._alone.update(chunk.trials)
                self.told(f"{len(chunk.trials)} runs of {chunk.optimizer} were trained one after the other: {why}")
        rest = [trial for trial in trials if trial not in runs]
        if rest:
            self.perform(rest, translated)
        return [runs[trial] for trial in trials]


def limited(limit: Callable[[Trial], float]) -> Callable[[Any], float]:
    """The seconds that a trial or a chunk may take."""
    return lambda work: sum(map(limit, work.trials)) if isinstance(work, Chunk) else limit(work)
