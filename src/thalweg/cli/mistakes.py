"""What a command says when it cannot go on: one sentence on stderr, and the exit code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from thalweg.extras import MissingExtra
from thalweg.lab.task import TaskError

USER_MISTAKE = 2
THEIR_CODE_RAISED = 1
INTERRUPTED = 130


@contextmanager
def explained() -> Iterator[None]:
    """Turn a mistake in an argument or a task into its sentence and exit code 2.

    Where a task's own code raised, its traceback comes first: that is where the mistake is found.
    """
    try:
        yield
    except (ValueError, FileNotFoundError, TypeError, MissingExtra) as error:
        if not _is_ours(error):
            raise
        cause = error.__cause__
        if isinstance(error, TaskError) and cause is not None:
            import traceback

            typer.echo("".join(traceback.format_exception(cause)), err=True)
        typer.echo(f"thalweg: {error}", err=True)
        raise typer.Exit(USER_MISTAKE) from None
