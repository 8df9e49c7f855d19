"""Trials as work for a process: alone, or several trained as one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Sequence
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

Part = Sequence[Trial]  # those of a stage that are trained as one, known already or not


@dataclass(frozen=True)
class Chunk:
    """Trials that are trained as one, those of an optimizer beside each other."""

    trials: tuple[Trial, ...]

    @property
    def optimizers(self) -> list[str]:
        """Theirs."""
        return list(dict.fromkeys(trial.optimizer for trial in self.trials))


@dataclass(frozen=True)
class Chunked:
    """What they came to, or why they must be trained one after the other."""

    runs: tuple[Run, ...] = ()
    refused: str = ""
    odd: tuple[Trial, ...] = ()  # those without which the others can be trained as one


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
            odd = [trial for trial, training in zip(trials, trainings, strict=True) if training in refused.odd]
            return Chunked(refused=str(refused), odd=tuple(odd))
        runs = [self.trainer.ended(trial, training) for trial, training in zip(trials, trainings, strict=True)]
        return Chunked(tuple(runs))


class Stacking:
    """Performs trials, those that are alike as one; what is refused, or fails, is done one after the other.

    A trial is trained the same way whatever else is asked for: with the others of its chunk, or with one of them
    where the rest is known already. A member's numbers do not depend on how many are beside it, nor on whose they
    are. Where only some members are refused, the others are tried without them; where optimizers that share a chunk
    are, each of them by itself.

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
        wanted = set(trials)
        work = self._chunks(self.way.chunks(self.stage or trials, self.apart, self.jobs), wanted)
        taken = {trial for _, chunk in work for trial in chunk.trials}
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
        while work or alone:
            answers = self.perform([*(chunk for _, chunk in work), *alone], translated)
            parts = [self._smaller(*tried, answer) for tried, answer in zip(work, answers, strict=False)]
            work, alone = self._chunks(itertools.chain(*parts), wanted), []
        rest = [trial for trial in trials if trial not in runs]
        if rest:
            self.perform(rest, translated)
        return [runs[trial] for trial in trials]

    def _chunks(self, parts: Iterable[Part], wanted: Collection[Trial]) -> list[tuple[Part, Chunk]]:
        """Of each part what is wanted; a trial that is wanted by itself gets one of the others for company."""
        made = []
        for part in parts:
            able = [trial for trial in part if trial not in self._alone]
            mine = [trial for trial in able if trial in wanted]
            if mine and len(able) > 1:
                others = [trial for trial in able if trial not in mine]
                made.append((part, Chunk(tuple(mine if len(mine) > 1 else [*mine, *others[:1]]))))
        return made

    def _smaller(self, part: Part, chunk: Chunk, answer: Any) -> list[Part]:
        """The parts to try instead of one whose chunk was refused, or failed."""
        why = answer.refused if isinstance(answer, Chunked) else answer.error
        if not why:
            return []
        odd = answer.odd if isinstance(answer, Chunked) else ()
        smaller: list[Part] = []
        if odd:
            smaller = [[trial for trial in part if trial not in odd]]
        elif len(chunk.optimizers) > 1:
            smaller = [[trial for trial in part if trial.optimizer == name] for name in chunk.optimizers]
        else:
            self.apart.update(chunk.optimizers)
        left = {trial for each in smaller if len(each) > 1 for trial in each}
        self._alone |= {trial: why for trial in [*chunk.trials, *odd] if trial not in left}
        return smaller


def limited(limit: Callable[[Sequence[Trial]], float]) -> Callable[[Any], float]:
    """The seconds that a trial, a chunk or a measurement may take."""

    def seconds(work: Any) -> float:
        if isinstance(work, Measurement):
            return work.seconds
        return limit(work.trials if isinstance(work, Chunk) else [work])

    return seconds
