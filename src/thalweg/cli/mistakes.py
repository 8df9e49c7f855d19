"""What a command says when it cannot go on: one sentence on stderr, and the exit code."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from thalweg.engine.build import NoCompiler
from thalweg.extras import MissingExtra
from thalweg.lab.task import TaskError
from thalweg.rules import RuleFileError

USER_MISTAKE = 2
THEIR_CODE_RAISED = 1
INTERRUPTED = 130


@contextmanager
def explained() -> Iterator[None]:
    """Turn a mistake in an argument or a task into its sentence and exit code 2.

    Where a task's or a rule's own code raised, its traceback comes first: that is where the mistake is found. Meant for
    the part of a command that looks at what it was given: later, an exception is no mistake of the user's.
    """
    try:
        yield
    except (ValueError, OSError, TypeError, MissingExtra, NoCompiler) as error:
        if isinstance(error, TaskError | RuleFileError) and error.__cause__ is not None:
            typer.echo("".join(traceback.format_exception(error.__cause__)), err=True)
        typer.echo(f"thalweg: {error}", err=True)
        raise typer.Exit(USER_MISTAKE) from None
