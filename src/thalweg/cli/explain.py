"""`thalweg explain NAME`: an optimizer's formula, its numbers and its past."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from thalweg.cli.mistakes import explained


def explain(
    name: Annotated[
        str | None, typer.Argument(help="An optimizer, as in adam or bfgs.  [default: a table of all]")
    ] = None,
    worked: Annotated[bool, typer.Option("--worked", help="The formula line by line with its numbers.")] = False,
    history: Annotated[bool, typer.Option("--history", help="How much each past gradient counts.")] = False,
    steps: Annotated[
        int | None, typer.Option(help="Steps of --worked and --history.  [default: 3 and 16]", min=1)
    ] = None,
    landscape: Annotated[
        str, typer.Option(help="Where --worked walks: a name, 'lambda x, y: ...' or file.py:function.")
    ] = "valley",
    parameter: Annotated[
        str | None, typer.Option(help="Whose numbers --worked shows: an index or a coordinate.  [default: the first]")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A setting, as in lr=0.1; may be repeated.", metavar="NAME=VALUE")
    ] = None,
    rule: Annotated[Path | None, typer.Option(help="A rule of your own instead of a name.", metavar="PATH")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything as JSON.")] = False,
    as_latex: Annotated[bool, typer.Option("--latex", help="The formula in LaTeX.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="A page of Markdown.")] = False,
) -> None:
    """Explain an optimizer: its formula, what it is good for, its settings, its relatives.

    In a terminal it is laid out with colour; into a pipe it is plain text. Without a name: all of them.
    """
    sys.stdout.reconfigure(errors="replace")  # pyright: ignore[reportAttributeAccessIssue]  a terminal without β
    import thalweg as tw  # loads torch: not for --help
    from thalweg import rules
    from thalweg.explanation import Explanation

    with explained():
        if as_json + as_latex + as_markdown > 1:
            raise ValueError("--json, --latex and --markdown are three answers; ask for one of them.")
        if as_latex and (worked or history or (name is None and rule is None)):
            raise ValueError("--latex prints the formula of one optimizer, without --worked and --history.")
        if name is None and rule is None:
            if worked or history or settings:
                raise ValueError("name is missing: which optimizer? `thalweg explain` alone lists them.")
            _overview(tw.explain(), as_json, as_markdown)
            return
        if name is not None and rule is not None:
            raise ValueError(f"name is {name!r} and --rule is {str(rule)!r}; give one of them.")
        found = tw.explain(rules.load(rule) if rule else str(name), **_settings(settings or []))
        whose = {} if parameter is None else {"parameter": int(parameter) if parameter.isdecimal() else parameter}
        if whose and not isinstance(found, Explanation):
            raise ValueError(f"--parameter is {parameter!r}; {found.name} moves all at once, and all are shown.")
        shown: dict[str, Any] = {}
        if worked:
            shown["worked"] = found.worked(steps or 3, landscape, **whose)
        if history:
            shown["history"] = found.history(steps or 16)
    if as_json:
        data = {**found.data(), **{key: value.data() for key, value in shown.items()}}
        typer.echo(json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False))
    elif as_latex:
        typer.echo(found.latex())
    elif as_markdown:
        parts = [f"\n## {key.capitalize()}\n\n```text\n{value}\n```\n" for key, value in shown.items()]
        typer.echo(found.markdown() + "".join(parts), nl=False)
    else:
        _show(found, shown, f" on {landscape}" if worked else "")


def _settings(given: list[str]) -> dict[str, Any]:
    from thalweg import typed

    found = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or not value.strip():
            raise ValueError(f"--set is {each!r}; it must be like lr=0.1.")
        found[name.strip()] = typed.value(value)
    return found


def _overview(overview: Any, as_json: bool, as_markdown: bool) -> None:
    if as_json or as_markdown:
        typer.echo(overview.json() if as_json else overview.markdown().rstrip())
        return
    console = Console()
    if not console.is_terminal:
        typer.echo(str(overview))
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("optimizer", style="bold cyan", no_wrap=True)
    table.add_column("what it does")
    table.add_column("bytes per\nparameter", justify="right")
    table.add_column("lr to search", no_wrap=True)
    more = Table(box=None, pad_edge=False)
    more.add_column("minimizer", style="bold cyan", no_wrap=True)
    more.add_column("what it does")
    more.add_column("memory and work")
    for row in overview.rows():
        if row["kind"] == "rule":
            table.add_row(row["name"], row["summary"], str(row["bytes_per_parameter"]), row["lr"] or "")
        else:
            more.add_row(row["name"], row["summary"], row["cost"])
    console.print(table, "", more, sep="\n")


def _show(found: Any, shown: dict[str, Any], where: str) -> None:
    """All sections; with numbers or history asked for, the formula and these."""
    from thalweg.printing import page

    headings = ["Formula"] if shown else []
    titles = {"worked": f"Worked{where}", "history": "History"}
    console = Console(highlight=False)
    if not console.is_terminal:
        parts = [page.text(found.data(), headings), *(f"{titles[k].upper()}\n{v}" for k, v in shown.items())]
        typer.echo("\n\n".join(parts))
        return
    console.print(Text.assemble((found.title, "bold cyan"), (f"  {found.summary}", "bold")))
    for section in page.sections(found.data()):
        if not headings or section.heading in headings:
            console.print(Text(f"\n{section.heading}", style="bold"))
            console.print(Text(page.body(section, min(console.width, page.WIDTH))))
    for key, value in shown.items():
        console.print(Text(f"\n{titles[key]}", style="bold"))
        console.print(_coloured(str(value)))


def _coloured(text: str) -> Text:
    """Names before an arrow, results after the last equals sign, and bars in colour."""
    made = Text(text)
    for line in re.finditer(r"(?m)^  (?P<name>[\w', ]+) <- .*?(?P<result>= [^=\n]+)?$", text):
        made.stylize("cyan", *line.span("name"))
        made.stylize("bold green", *line.span("result"))
    made.highlight_regex(r"(?m)^(step|iteration) \d+", "bold")
    made.highlight_regex(r"[█▏▎▍▌▋▊▉]+", "cyan")
    return made
