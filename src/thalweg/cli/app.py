"""All commands: a new one is a function in a file of its own, and a line here."""

from __future__ import annotations

from typing import Annotated

import typer

from thalweg.cli.check import check
from thalweg.cli.compare import compare
from thalweg.cli.explain import explain
from thalweg.cli.folder import export, report, resume, runs
from thalweg.cli.kernels import kernels
from thalweg.cli.map import map
from thalweg.cli.race import race
from thalweg.cli.tune import tune
from thalweg.cli.workloads import workloads

app = typer.Typer(
    name="thalweg",
    help="Find the optimizer, and its settings, that train your model best.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # an exception in a user's code is shown as Python shows it
    rich_markup_mode=None,
)
app.command()(compare)
app.command()(tune)
app.command()(resume)
app.command()(report)
app.command()(runs)
app.command()(export)
app.command()(race)
app.command()(map)
app.command()(explain)
app.command()(workloads)
app.command()(check)
app.add_typer(kernels, name="kernels")


def _version(wanted: bool) -> None:
    if wanted:
        from thalweg import __version__

        typer.echo(f"thalweg {__version__}")
        raise typer.Exit()


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Find the optimizer, and its settings, that train your model best."""
