"""Run a comparison from the command line: compare, tune and resume are the same from here on."""

from __future__ import annotations

import shlex
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from thalweg.cli.mistakes import INTERRUPTED, THEIR_CODE_RAISED, USER_MISTAKE
from thalweg.cli.outcome import show


def performed(
    comparison: Any, folder: Path, *, fresh: bool = False, quiet: bool = False, as_json: bool = False
) -> None:
    """Run it in its folder, show how it goes and what came out, and exit as a command should."""
    from thalweg.lab.budget import BudgetError
    from thalweg.lab.cluster import ClusterError
    from thalweg.lab.faults import RunError
    from thalweg.lab.progress import log
    from thalweg.lab.store import StoreError
    from thalweg.lab.task import TaskError

    try:
        with _progress(quiet, as_json) as progress:
            result = comparison.run_in(folder, progress, fresh=fresh)
    except (StoreError, BudgetError, ClusterError, TaskError) as error:
        typer.echo(f"thalweg: {error}", err=True)
        raise typer.Exit(USER_MISTAKE) from None
    except RunError as error:
        typer.echo(f"{error.details}\nthalweg: {error}", err=True)
        raise typer.Exit(THEIR_CODE_RAISED) from None
    if as_json:
        log("ended", verdict=result.verdict, decision=result.decision, folder=str(folder))
    else:
        show(result, folder)
    if result.data["interrupted"]:
        typer.echo(f"`thalweg resume {shlex.quote(str(folder))}` goes on, and repeats nothing.", err=True)
        raise typer.Exit(INTERRUPTED)


def _progress(quiet: bool, as_json: bool) -> Any:
    from thalweg.lab.events import silent
    from thalweg.lab.progress import json_lines, lines, live

    if quiet or as_json:
        return nullcontext(json_lines if as_json else silent)
    console = Console(stderr=True)
    return live(console) if console.is_terminal else nullcontext(lines())
