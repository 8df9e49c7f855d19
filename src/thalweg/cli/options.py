"""The options that several commands share, in one wording: compare, tune and resume."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from thalweg.lab.budget import PRESETS
from thalweg.schedule import SCHEDULES, TUNED

PRESET_HELP = "; ".join(
    f"{b.preset}: {b.points} points each, up to {b.promoted} confirmed on up to {b.looks[-1]} seeds"
    for b in PRESETS.values()
)
WHERE = "off|local|auto|ray://HOST:PORT"

TaskName = Annotated[str, typer.Argument(help="A workload (see `thalweg workloads`), or my_task.py, my_task.py:name.")]
Budget = Annotated[str, typer.Option(help=f"{PRESET_HELP}.", metavar="|".join([*PRESETS, "20m", "'5000 steps'"]))]
Points = Annotated[
    int | None, typer.Option(help="Search points of every optimizer, at least 2.  [default: the budget's]")
]
Steps = Annotated[int | None, typer.Option(help="Training steps of every run.  [default: the task's]")]
Seed = Annotated[int, typer.Option(help="Another seed gives an independent repetition.")]
Jobs = Annotated[
    int | None, typer.Option(help="Processes of one thread each; 1 stays in this one.  [default: all cores]")
]
Cluster = Annotated[
    str,
    typer.Option(
        help="Let a Ray cluster make the runs: one that starts here (local), this machine's (auto), or another.",
        metavar=WHERE,
    ),
]
Out = Annotated[Path | None, typer.Option(help="Folder for the results.  [default: runs/TASK-DATE]", metavar="DIR")]
Timeout = Annotated[
    float | None,
    typer.Option(help="Seconds after which a run counts as hanging.  [default: 60, and 20 times its steps' time]"),
]
Stacked = Annotated[
    str, typer.Option(help="Train trials of one optimizer as one where that is faster, or off.", metavar="auto|off")
]
Schedule = Annotated[
    str,
    typer.Option(
        help="Of the learning rate, the same for all, or tuned for all.", metavar="|".join([*SCHEDULES, TUNED])
    ),
]
Prune = Annotated[
    bool, typer.Option("--prune/--no-prune", help="Stop runs that are behind others of the same optimizer.")
]
Spaces = Annotated[
    Path | None, typer.Option(help="A TOML file of search ranges that change those on the cards.", metavar="PATH")
]
Model = Annotated[
    bool | None,
    typer.Option(
        "--model/--no-model",
        help="Let Optuna's TPE place the last third of 25 or more points.  [default: if Optuna is installed]",
        show_default=False,
    ),
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Forget the runs that are in DIR.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Say nothing until the end.")]
AsJson = Annotated[bool, typer.Option("--json", help="Log to stdout, one JSON object a line; the last is the verdict.")]
