"""`thalweg check`: hold a rule of yours against everything that the house's own rules must keep."""

from __future__ import annotations

from typing import Annotated

import typer

from thalweg.cli.mistakes import explained


def check(
    rule: Annotated[str, typer.Argument(help="A Python file that defines one rule, or the name of a rule.")],
) -> None:
    """Run the contract on a rule: every promise, on every engine of this machine, and say what holds.

    Exits with 1 if a promise is broken.
    """
    from thalweg import contract, rules

    with explained():
        found = rules.named(rule)
    broken = 0
    for promise, seen in contract.check(found).items():
        broken += seen is not None
        words = promise.replace("_", " ")
        typer.echo(f"holds   {words}" if seen is None else f"BROKEN  {words}: {seen}")
    typer.echo(f"{found.__name__}: {len(contract.PROMISES) - broken} of {len(contract.PROMISES)} promises hold")
    if broken:
        raise typer.Exit(1)
