"""`thalweg race`: optimizers side by side on a landscape."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from thalweg.cli.console import wide_console
from thalweg.cli.mistakes import explained
from thalweg.cli.words import intervals, numbers, settings


def race(
    landscape: Annotated[
        str,
        typer.Option(
            "--landscape", "-l", help="A name, a name(parameter=value), 'lambda x, y: ...', or file.py:function."
        ),
    ] = "rosenbrock",
    optimizers: Annotated[
        str | None,
        typer.Option(
            help="Names separated by commas, with settings where wanted: 'sgd,adam(beta1=0.5)'.  "
            "[default: the landscape's, or the seven classics]",
            metavar="A,B,C",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File; its ending decides: png, svg, gif, mp4, csv, json.", metavar="FILE"),
    ] = None,
    steps: Annotated[int, typer.Option(help="Steps of every optimizer.")] = 200,
    lr: Annotated[float | None, typer.Option(help="One lr for all.  [default: each one's best]")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting of one optimizer; may be repeated.", metavar="NAME.SETTING=VALUE"),
    ] = None,
    rule: Annotated[
        list[Path] | None, typer.Option(help="A rule of your own; may be repeated.", metavar="PATH")
    ] = None,
    start: Annotated[str | None, typer.Option(help="Where to begin, as in -1.2,1.", metavar="X,Y")] = None,
    domain: Annotated[str | None, typer.Option(help="What to show, as in -2:2,-1:3.", metavar="X:X,Y:Y")] = None,
    rotate: Annotated[float, typer.Option(help="Turn the landscape by so many degrees.")] = 0.0,
    decay: Annotated[str | None, typer.Option(help="constant, or sqrt for lr / sqrt(t).")] = None,
    lrs: Annotated[int, typer.Option(help="Learning rates that each optimizer tries.")] = 31,
    seed: Annotated[int, typer.Option(help="Another seed draws other batches, where there are any.")] = 0,
    theme: Annotated[str, typer.Option(help="light or dark.")] = "light",
) -> None:
    """Let optimizers race on a landscape, each at the best of the same number of learning rates.

    Without -o: a table and a small picture here.
    """
    from thalweg.pictures.theme import find  # loads torch and matplotlib: not for --help
    from thalweg.racing.files import ending
    from thalweg.racing.race import race as run

    with explained():
        find(theme)
        if output is not None:
            ending(output)  # known before anything is computed
        done = run(
            landscape, optimizers, steps=steps, lr=lr, settings=settings(set_ or []), start=numbers("start", start),
            domain=intervals("domain", domain), seed=seed, rotate=rotate, decay=decay,  # pyright: ignore[reportArgumentType]
            lrs=lrs, rules=rule or [],
        )  # fmt: skip
        if output is not None:
            _save(done, output, theme)
    console = wide_console()
    if output is None:
        from thalweg.racing.braille import terminal_picture

        console.print(f"{done.landscape.name}:  {done.landscape.formula}", highlight=False, markup=False)
        console.print(terminal_picture(done))
    console.print(_table(done))
    console.print(done.budget, highlight=False, markup=False, soft_wrap=True)
    if output is not None:
        console.print(f"{output}  {done.description()}", highlight=False, markup=False, soft_wrap=True)
    elif done.landscape.teaches:
        console.print(done.landscape.teaches, highlight=False, markup=False)


def _save(done: Any, output: Path, theme: str) -> None:
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("drawing", total=None)
        done.save(output, theme, lambda drawn, total: bar.update(task, completed=drawn, total=total))


def _table(done: Any) -> Table:
    from thalweg.racing.braille import colour
    from thalweg.racing.runs import row

    table = Table(box=None, pad_edge=False)
    for title in ("optimizer", "lr", "loss reached", "ending"):
        table.add_column(title)
    for i, run in enumerate(done.runs):
        name, *rest = row(run)
        table.add_row(f"[{colour(i)}]━[/] {name}", *rest)
    return table
