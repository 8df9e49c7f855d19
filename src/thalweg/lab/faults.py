"""Runs that failed: an exception, a crash, no end. They are no divergences, and one is not the end of a comparison.

A run that failed is made once more; then it stands in the ledger as failed, with its traceback. Only where
everything fails alike, the comparison stops: that is the task's mistake, and not worth the budget.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from thalweg.lab.events import Event, Finished, Perform, Progress
from thalweg.lab.plan import Done, Trial
from thalweg.lab.run import Run

ENOUGH = 3  # runs that failed alike, and none that did not


class RunError(RuntimeError):
    """Every run failed alike: the sentence says how. `details` is the traceback, also when it came from a worker."""

    def __init__(self, sentence: str, details: str):
        super().__init__(sentence)
        self.details = details


def failed(error: str, details: str, seconds: float = 0.0) -> Run:
    """The run of a trial that failed: a sentence, and the traceback."""
    return Run(None, (), seconds, 0, error=error, details=details)


def hung(details: str, seconds: float) -> Run:
    """The run of a trial that was stopped because it took too long."""
    return failed(f"Hung: still running after {seconds:.0f} s, and was stopped", details, seconds)


def retried(perform: Perform, which: Callable[[Any], bool] = lambda run: run.failed, times: int = 1) -> Perform:
    """The same, with every run that failed made once more before anybody is told.

    Which of those that came back are made again, and how many times at most, may be said otherwise.
    """

    def again(trials: Sequence[Trial], report: Progress) -> list[Run]:
        def tell(event: Event) -> None:
            if not (isinstance(event, Finished) and which(event.run)):
                report(event)

        runs, left = {}, list(trials)
        for told in [*[tell] * times, report]:
            if left:
                runs.update(zip(left, perform(left, told), strict=True))
            left = [trial for trial in left if which(runs[trial])]
        return [runs[trial] for trial in trials]

    return again


def stop_if_hopeless(done: Done, asked: int) -> None:
    """Raise RunError if all runs so far failed in the same way, and they are enough to say so.

    Args:
        done: the runs so far.
        asked: how many were asked for up to now: with fewer than three, all of them.
    """
    if len(done) < min(ENOUGH, asked) or not all(run.failed for _, run in done):
        return
    kinds = {(run.error or "").partition(":")[0] for _, run in done}
    if len(kinds) == 1:
        trial, run = done[-1]
        raise RunError(f"every run has failed; {described(trial)}: {run.error}", run.details or "")


def notes(done: Done) -> list[str]:
    """A sentence about every optimizer with failed runs."""
    said = []
    for name in dict.fromkeys(trial.optimizer for trial, _ in done):
        own = [run for trial, run in done if trial.optimizer == name]
        lost = [run for run in own if run.failed]
        if lost:
            said.append(
                f"{len(lost)} of {len(own)} runs of {name} failed, twice each, and count for nothing: {lost[0].error}"
            )
    return said


def described(trial: Trial) -> str:
    """A run in words."""
    settings = ", ".join(f"{name}={value:g}" for name, value in trial.hyper)
    return f"the run of {trial.optimizer} with {settings} from seed {trial.seed} ({trial.phase})"
