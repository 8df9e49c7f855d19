"""Run a comparison from the command line: compare, tune and resume are the same from here on."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from contextlib import nullcontext, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TextIO

import typer
from rich.console import Console

from thalweg.cli.mistakes import INTERRUPTED, THEIR_CODE_RAISED, USER_MISTAKE, explained
from thalweg.cli.outcome import show


def performed(
    prepare: Callable[[], tuple[Any, Path]], *, fresh: bool = False, quiet: bool = False, as_json: bool = False
) -> None:
    """Prepare a comparison, run it in its folder, show how it goes and what came out, and exit as a command should.

    Where stdout is a log, what the code of a task prints goes to stderr.
    """
    stdout = sys.stdout
    with redirect_stdout(sys.stderr) if as_json else nullcontext():
        with explained():
            comparison, folder = prepare()
        result = _run(comparison, folder, _progress(quiet, stdout if as_json else None), fresh)
        if as_json:
            from thalweg.lab.progress import log

            log(stdout, "ended", verdict=result.verdict, decision=result.decision, folder=str(folder))
        else:
            show(result, folder)
    if result.data["interrupted"]:
        _goes_on(folder)


def _run(comparison: Any, folder: Path, progress: Any, fresh: bool) -> Any:
    from thalweg.extras import MissingExtra
    from thalweg.lab.budget import BudgetError
    from thalweg.lab.cluster import ClusterError
    from thalweg.lab.faults import RunError
    from thalweg.lab.store import NAME, StoreError
    from thalweg.lab.task import TaskError

    try:
        with progress as tell:
            return comparison.run_in(folder, tell, fresh=fresh)
    except (StoreError, BudgetError, ClusterError, TaskError, MissingExtra) as error:
        typer.echo(f"thalweg: {error}", err=True)
        raise typer.Exit(USER_MISTAKE) from None
    except RunError as error:
        typer.echo(f"{error.details}\nthalweg: {error}", err=True)
        raise typer.Exit(THEIR_CODE_RAISED) from None
    except KeyboardInterrupt:  # the second one, while what is known is written
        if not (folder / NAME).exists():
            raise
        _goes_on(folder)


def _goes_on(folder: Path) -> NoReturn:
    typer.echo(f"`thalweg resume {shlex.quote(str(folder))}` goes on, and repeats nothing.", err=True)
    raise typer.Exit(INTERRUPTED)


def _progress(quiet: bool, stdout: TextIO | None) -> Any:
    from thalweg.lab.events import silent
    from thalweg.lab.progress import json_lines, lines, live

    if quiet or stdout:
        return nullcontext(partial(json_lines, stream=stdout) if stdout else silent)
    console = Console(stderr=True)
    return live(console) if console.is_terminal else nullcontext(lines())
