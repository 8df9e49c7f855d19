"""`thalweg compare TASK`: the main job."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from thalweg.cli.mistakes import explained
from thalweg.cli.running import AsJson, Quiet, performed
from thalweg.extras import locate
from thalweg.lab.budget import PRESETS
from thalweg.lab.candidates import SHORT_LIST
from thalweg.schedule import SCHEDULES

PRESET_HELP = "; ".join(
    f"{b.preset}: {b.points} points each, up to {b.promoted} confirmed on up to {b.looks[-1]} seeds"
    for b in PRESETS.values()
)

BUDGETS = "|".join([*PRESETS, "20m", "'5000 steps'"])


def compare(
    task: Annotated[str, typer.Argument(help="A workload (see `thalweg workloads`), or my_task.py, my_task.py:name.")],
    optimizers: Annotated[
        str | None,
        typer.Option(help=f"Names separated by commas, or all.  [default: {','.join(SHORT_LIST)}]", metavar="A,B,C"),
    ] = None,
    budget: Annotated[
        str, typer.Option(help=f"{PRESET_HELP}.", metavar="|".join([*PRESETS, "20m", "'5000 steps'"]))
    ] = "quick",
    steps: Annotated[int | None, typer.Option(help="Training steps of every run.  [default: the task's]")] = None,
    seed: Annotated[int, typer.Option(help="Another seed gives an independent repetition.")] = 0,
    jobs: Annotated[
        int | None, typer.Option(help="Processes of one thread each; 1 stays in this one.  [default: all cores]")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results.  [default: runs/TASK-DATE]", metavar="DIR")
    ] = None,
    rule: Annotated[
        list[Path] | None,
        typer.Option(help="A rule of your own among the candidates; may be repeated.", metavar="PATH"),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(help="Seconds after which a run counts as hanging.  [default: 60, and 20 times its steps' time]"),
    ] = None,
    stack: Annotated[
        str, typer.Option(help="Train trials of one optimizer as one where that is faster, or off.", metavar="auto|off")
    ] = "auto",
    schedule: Annotated[
        str, typer.Option(help="Of the learning rate, the same for all.", metavar="|".join(SCHEDULES))
    ] = "warmup_cosine",
    prune: Annotated[
        bool, typer.Option("--prune/--no-prune", help="Stop runs that are behind others of the same optimizer.")
    ] = True,
    equal: Annotated[str, typer.Option(help="What every run takes the same of.", metavar="steps|seconds")] = "steps",
    spaces: Annotated[
        Path | None, typer.Option(help="A TOML file of search ranges that change those on the cards.", metavar="PATH")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget the runs that are in DIR.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Find the optimizer, and its settings, that train a task best.

    Every optimizer gets the same number of runs at the same quasi-random points; the best are run again on
    fresh seeds that decide. Ctrl-C stops, and what is known by then is still written. DIR receives
    report.html, result.json and winner.py, the code to paste, and every run as it ends: `thalweg resume DIR`, or
    the same command with this --out, goes on without repeating one.
    """
    from thalweg.lab.compare import prepared  # loads torch and scipy: not for --help
    from thalweg.lab.store import NAME

    with explained():
        for package in ("matplotlib", "jinja2"):  # the report's: missing them shall not show at the end
            locate(package)
        comparison = prepared(
            task, optimizers, budget=budget, steps=steps, seed=seed, jobs=jobs, rules=rule or [], timeout=timeout,
            stack=stack,
            schedule=schedule, prune=prune, equal=equal, spaces=spaces,  # type: ignore[arg-type]  # checked there
        )  # fmt: skip
        folder = reserved(out, Path("runs") / f"{comparison.task.name}-{date.today().isoformat()}", NAME)
    performed(comparison, folder, fresh=fresh, quiet=quiet, as_json=as_json)


def reserved(wanted: Path | None, default: Path, store: str) -> Path:
    """Make the folder, so that what cannot be written is known before anything is spent."""
    if wanted is not None:
        if (wanted / "result.json").exists() and not (wanted / store).exists():
            raise ValueError(f"--out is {str(wanted)!r}, which holds a result without its runs; choose another folder.")
        if wanted.exists() and not wanted.is_dir():
            raise ValueError(f"--out is {str(wanted)!r}, which is a file; it must be a folder.")
        wanted.mkdir(parents=True, exist_ok=True)
        return wanted
    folder, number = default, 1
    while True:
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            number += 1
            folder = default.with_name(f"{default.name}-{number}")
