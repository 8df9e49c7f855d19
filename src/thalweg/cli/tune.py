"""`thalweg tune TASK`: the best settings of one optimizer."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from thalweg.cli.compare import PRESET_HELP, reserved
from thalweg.cli.mistakes import explained
from thalweg.cli.running import AsJson, Quiet, performed
from thalweg.lab.budget import PRESETS


def tune(
    task: Annotated[str, typer.Argument(help="A workload (see `thalweg workloads`), or my_task.py, my_task.py:name.")],
    optimizer: Annotated[str, typer.Option(help="The name of a rule, or a rule file of yours.")] = "adamw",
    budget: Annotated[str, typer.Option(help=f"{PRESET_HELP}.", metavar="|".join(PRESETS))] = "standard",
    steps: Annotated[int | None, typer.Option(help="Training steps of every run.  [default: the task's]")] = None,
    seed: Annotated[int, typer.Option(help="Another seed gives an independent repetition.")] = 0,
    jobs: Annotated[
        int | None, typer.Option(help="Processes of one thread each; 1 stays in this one.  [default: all cores]")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results.  [default: runs/TASK-DATE]", metavar="DIR")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget the runs that are in DIR.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Find the best settings of one optimizer on a task: more of its hyper-parameters are searched than by compare."""
    from thalweg.lab.store import NAME
    from thalweg.lab.tune import prepared_to_tune

    with explained():
        comparison = prepared_to_tune(task, optimizer, budget=budget, steps=steps, seed=seed, jobs=jobs)
        folder = reserved(out, Path("runs") / f"{comparison.task.name}-{date.today().isoformat()}", NAME)
    performed(comparison, folder, fresh=fresh, quiet=quiet, as_json=as_json)
