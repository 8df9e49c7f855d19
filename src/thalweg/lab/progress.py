"""Progress to look at: a live table on a terminal, plain lines elsewhere. Both are made from events."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TextIO

from thalweg.extras import require
from thalweg.lab.events import Event, Finished, Planned, Progress, Stage, Started, Stopped
from thalweg.lab.plan import SEARCHED, Trial
from thalweg.lab.statistics import Mode

STAGES = {
    "default": "defaults",
    "search": "search and pruning",
    "edge": "beyond an edge",
    "noise": "spread between seeds",
    "choice": "choice of settings on fresh seeds",
    "confirmation": "confirmation on fresh seeds",
}


STOPPED = "stopped: what is known is written now, which takes seconds; Ctrl-C once more leaves at once"


@dataclass
class Tally:
    """The state that events add up to."""

    names: list[str] = field(default_factory=list)
    mode: Mode = "min"
    metric: str = "metric"
    most: float = 0.0
    jobs: int = 1
    stage: str = ""
    runs: dict[str, int] = field(default_factory=dict)
    best: dict[str, float] = field(default_factory=dict)
    diverged: dict[str, int] = field(default_factory=dict)
    running: list[Trial] = field(default_factory=list)
    ends: dict[Trial, int] = field(default_factory=dict)
    done: float = 0.0
    known: float = 0.0
    begun: float = field(default_factory=time.monotonic)

    def add(self, event: Event) -> None:
        """Take an event into account."""
        if isinstance(event, Planned):
            self.names, self.mode, self.metric = list(event.plan.spaces), event.plan.mode, event.metric
            self.most, self.jobs, self.begun = event.work[1], event.jobs, time.monotonic()
            self.runs, self.diverged = dict.fromkeys(self.names, 0), dict.fromkeys(self.names, 0)
        elif isinstance(event, Stage):
            self.stage = event.phase
        elif isinstance(event, Started):
            self.running.append(event.trial)
        elif isinstance(event, Finished):
            self._finished(event)

    def _finished(self, event: Finished) -> None:
        name, run = event.trial.optimizer, event.run
        self.running = [t for t in self.running if t is not event.trial]
        whole = replace(event.trial, until=None)
        self.runs[name] += whole not in self.ends
        work = (event.trial.end - self.ends.get(whole, 0)) / event.trial.steps
        self.done += work
        self.known += work * event.known
        self.ends[whole] = event.trial.end
        self.diverged[name] += run.diverged
        if run.final is not None and event.trial.end == event.trial.steps and event.trial.phase in SEARCHED:
            better = max if self.mode == "max" else min
            self.best[name] = better(self.best.get(name, run.final), run.final)

    @property
    def left(self) -> float | None:
        """Seconds left at most, from the speed so far; None before the first run has ended. Work is in full runs.

        What is only remembered took no time, and says nothing of the speed.
        """
        made = self.done - self.known
        return (time.monotonic() - self.begun) / made * max(0, self.most - self.done) if made > 0 else None


def duration(seconds: float) -> str:
    """Seconds for people.

    >>> duration(7.4), duration(95), duration(8000)
    ('7 s', '1 min 35 s', '2 h 13 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def estimate(event: Planned) -> str:
    """How long it will take, in a sentence."""
    least, most = map(round, event.work)
    short, long = map(duration, event.seconds)
    time_needed = short if short == long else f"{short} to {long}"
    where = "1 process" if event.jobs == 1 else f"{event.jobs} processes"
    names, horizons = event.plan.spaces, event.plan.horizons
    equal = ", ".join(f"{name} {event.plan.horizon(name):,}" for name in names) if horizons else f"{event.plan.steps:,}"
    return (
        f"{len(names)} optimizers, equal {'seconds' if horizons else 'steps'}; "
        f"work of {least} to {most} runs of {equal} steps: about {time_needed} on {where}"
    )


def lines(stream: TextIO | None = None) -> Progress:
    """A function for `compare(progress=...)` that writes a line for every stage; to stderr by default."""
    tally = Tally()

    def tell(event: Event) -> None:
        tally.add(event)
        if isinstance(event, Planned):
            print(estimate(event), file=stream or sys.stderr, flush=True)
        elif isinstance(event, Stage):
            left = "" if tally.left is None else f", at most {duration(tally.left)} left"
            what = STAGES.get(event.phase, event.phase)
            print(
                f"{what}: {event.runs} runs (work of {tally.done:.0f} full runs done{left})",
                file=stream or sys.stderr,
                flush=True,
            )
        elif isinstance(event, Stopped):
            print(STOPPED, file=stream or sys.stderr, flush=True)

    return tell


def json_lines(event: Event, stream: TextIO | None = None) -> None:
    """For `compare(progress=...)` on a server: every event as one JSON object in a line; to stdout by default."""
    if isinstance(event, Planned):
        horizons = {name: event.plan.horizon(name) for name in event.plan.spaces}
        equal = "seconds" if event.plan.horizons else "steps"
        plan = {"optimizers": list(horizons), "steps": event.plan.steps, "equal": equal, "horizons": horizons}
        plan["jobs"] = event.jobs
        log(stream, "planned", **plan, seconds=list(event.seconds))
    elif isinstance(event, Stage):
        log(stream, "stage", phase=event.phase, runs=event.runs)
    elif isinstance(event, Stopped):
        log(stream, "stopped")
    else:
        trial = event.trial
        about = {"optimizer": trial.optimizer, "hyper": dict(trial.hyper), "seed": trial.seed, "phase": trial.phase}
        if isinstance(event, Started):
            log(stream, "started", **about)
        else:
            run = event.run
            came = {"final": run.final, "steps": run.steps, "seconds": run.seconds, "why": run.why, "error": run.error}
            log(stream, "finished", **about, **came, known=event.known)


def log(stream: TextIO | None, event: str, **about: Any) -> None:
    """Write one JSON object in one line, with the time; to stdout by default."""
    print(json.dumps({"event": event, "time": time.time(), **about}), file=stream, flush=True)


@contextmanager
def live(console: Any) -> Iterator[Progress]:
    """The same as a table that is renewed in place, on a rich console; it is gone when the context is left."""
    tally = Tally()
    with require("rich.live").Live(console=console, transient=True, refresh_per_second=4) as screen:

        def tell(event: Event) -> None:
            tally.add(event)
            if isinstance(event, Planned):
                screen.console.print(estimate(event))
            elif isinstance(event, Stopped):
                screen.console.print(STOPPED)
            screen.update(_drawn(tally))

        yield tell


def _drawn(tally: Tally) -> Any:
    table = require("rich.table").Table(box=None, pad_edge=False)
    for title in ("optimizer", "runs", f"best {tally.metric}", "diverged", "running"):
        table.add_column(title, justify="left" if title in ("optimizer", "running") else "right")
    good = max if tally.mode == "max" else min
    first = good(tally.best, key=lambda name: tally.best[name], default=None)
    for name in tally.names:
        runs, best = tally.runs[name], tally.best.get(name)
        now = [f"lr={dict(t.hyper)['lr']:.3g}" for t in tally.running if t.optimizer == name]
        table.add_row(
            name,
            str(runs),
            "" if best is None else f"{best:.4g}",
            f"{tally.diverged[name] / runs:.0%}" if runs else "",
            " ".join(now),
            style="bold" if name == first else None,
        )
    left = "" if tally.left is None else f", at most {duration(tally.left)} left"
    bar = require("rich.progress_bar").ProgressBar(total=max(tally.most, 1), completed=tally.done, width=40)
    what = (
        f"{STAGES.get(tally.stage, tally.stage)}: work of {tally.done:.0f} of at most {tally.most:.0f} full runs{left}"
    )
    below = require("rich.table").Table.grid(padding=(0, 2))
    below.add_row(bar, what)
    return require("rich.console").Group(table, below)
