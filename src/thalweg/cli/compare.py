"""`thalweg compare TASK`: the main job."""

from __future__ import annotations

import itertools
import re
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer

from thalweg.cli import options
from thalweg.cli.running import performed
from thalweg.lab.candidates import SHORT_LIST


def compare(
    task: options.TaskName,
    optimizers: Annotated[
        str | None,
        typer.Option(help=f"Names separated by commas, or all.  [default: {','.join(SHORT_LIST)}]", metavar="A,B,C"),
    ] = None,
    budget: options.Budget = "quick",
    points: options.Points = None,
    steps: options.Steps = None,
    seed: options.Seed = 0,
    jobs: options.Jobs = None,
    cluster: options.Cluster = "off",
    out: options.Out = None,
    rule: Annotated[
        list[Path] | None,
        typer.Option(help="A rule of your own among the candidates; may be repeated.", metavar="PATH"),
    ] = None,
    timeout: options.Timeout = None,
    stack: options.Stacked = "auto",
    schedule: options.Schedule = "warmup_cosine",
    prune: options.Prune = True,
    margin: Annotated[
        float | None,
        typer.Option(
            help="Differences up to here do not matter, in the metric's units.  [default: half the sd between seeds]"
        ),
    ] = None,
    equal: Annotated[str, typer.Option(help="What every run takes the same of.", metavar="steps|seconds")] = "steps",
    spaces: options.Spaces = None,
    model: options.Model = None,
    fresh: options.Fresh = False,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Find the optimizer, and its settings, that train a task best.

    Every optimizer gets the same number of runs at the same quasi-random points; the best are run again on
    fresh seeds that decide. Ctrl-C stops, and what is known by then is still written. DIR receives
    report.html, result.json and winner.py, the code to paste, and every run as it ends: `thalweg resume DIR`, or
    the same command with this --out, goes on without repeating one.
    """
    from thalweg.lab.comparison import prepared  # loads torch and scipy: not for --help
    from thalweg.lab.store import NAME

    def prepare() -> tuple[Any, Path]:
        comparison = prepared(
            task, optimizers, budget=budget, points=points, steps=steps, seed=seed, jobs=jobs, cluster=cluster,
            rules=rule or [], margin=margin, timeout=timeout, stack=stack, schedule=schedule, prune=prune,
            spaces=spaces, model=model, equal=equal,  # type: ignore[arg-type]  # checked there
        )  # fmt: skip
        return comparison, chosen(out, comparison.task.name, NAME)

    performed(prepare, fresh=fresh, quiet=quiet, as_json=as_json)


def chosen(wanted: Path | None, task: str, store: str) -> Path:
    """The folder: by default runs/TASK-DATE, with a number where there is one, in letters that no shell takes amiss."""
    if wanted is not None:
        if (wanted / "result.json").exists() and not (wanted / store).exists():
            raise ValueError(f"--out is {str(wanted)!r}, which holds a result without its runs; choose another folder.")
        return wanted
    name = re.sub(r"[^\w.-]+", "-", task).strip("-.") or "task"
    default = Path("runs") / f"{name}-{date.today().isoformat()}"
    numbered = (default.with_name(f"{default.name}-{number}") for number in itertools.count(2))
    return next(folder for folder in itertools.chain([default], numbered) if not folder.exists())
