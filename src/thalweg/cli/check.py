"""`thalweg check`: hold a rule of yours against everything that the house's own rules must keep."""

from __future__ import annotations

from typing import Annotated

import typer

from thalweg.cli.mistakes import explained


def check(
    rule: Annotated[str, typer.Argument(help="A Python file that defines one rule, or the name of a rule.")],
    compiled: Annotated[
        bool, typer.Option("--compiled", help="Through torch.compile too, at its defaults: half a minute.")
    ] = False,
) -> None:
    """Run the contract on a rule: every promise, on every engine of this machine, and say what holds.

    Exits with 1 if a promise is broken.
    """
    from thalweg import contract, rules
    from thalweg.signature import signature_of

    with explained():
        found = rules.named(rule)
    findings = contract.check(found, compiled)
    broken = sum(seen is not None for seen in findings.values())
    said: dict[str, str] = {}  # where a sentence stood first
    for promise, seen in findings.items():
        words = promise.replace("_", " ")
        typer.echo(f"holds   {words}" if seen is None else f"BROKEN  {words}: {said.get(seen, seen)}")
        if seen:
            said.setdefault(seen, f'as "{words}"')
    typer.echo(f"{found.__name__}: {len(findings) - broken} of {len(findings)} promises hold")
    if not broken:
        here = ["eager", *contract.engines(found, signature_of(found).defaults), *(["compiled"] if compiled else [])]
        typer.echo(f"engines: {', '.join(here)}")
    if broken:
        raise typer.Exit(1)
