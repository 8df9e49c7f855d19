"""`thalweg map`: how fast an optimizer converges, over a grid of two of its settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from thalweg.cli.console import wide_console
from thalweg.cli.mistakes import explained
from thalweg.cli.words import interval, numbers, settings


def map(
    landscape: Annotated[
        str,
        typer.Option(
            "--landscape", "-l", help="A name, a name(parameter=value), 'lambda x, y: ...', or file.py:function."
        ),
    ] = "valley",
    optimizer: Annotated[str, typer.Option(help="A name, with settings where wanted.")] = "momentum",
    x: Annotated[str, typer.Option("-x", help="The setting to the right.", metavar="NAME")] = "lr",
    y: Annotated[str, typer.Option("-y", help="The setting upwards.", metavar="NAME")] = "momentum",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File; its ending decides: png, svg, csv, json.", metavar="FILE"),
    ] = None,
    x_range: Annotated[
        str | None, typer.Option(help="Its ends, as in 0.001:0.05.  [default: the card's]", metavar="LOW:HIGH")
    ] = None,
    y_range: Annotated[str | None, typer.Option(help="The same for y.", metavar="LOW:HIGH")] = None,
    size: Annotated[int, typer.Option(help="Values along each side.")] = 40,
    steps: Annotated[int, typer.Option(help="Steps of every walk.")] = 1000,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting of the optimizer; may be repeated.", metavar="NAME.SETTING=VALUE"),
    ] = None,
    start: Annotated[str | None, typer.Option(help="Where to begin, as in -1.2,1.", metavar="X,Y")] = None,
    rotate: Annotated[float, typer.Option(help="Turn the landscape by so many degrees.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Another seed draws other batches, where there are any.")] = 0,
    theme: Annotated[str, typer.Option(help="light or dark.")] = "light",
) -> None:
    """Map how fast an optimizer converges over two of its settings, and where it diverges."""
    from thalweg.pictures.theme import find  # loads torch and matplotlib: not for --help
    from thalweg.racing.files import ending
    from thalweg.racing.rates import KINDS
    from thalweg.racing.rates import map as run

    with explained():
        find(theme)
        if output is not None:
            ending(output, KINDS)
        done = run(
            landscape, optimizer, x, y, x_range=interval("x-range", x_range), y_range=interval("y-range", y_range),
            size=size, steps=steps, settings=settings(set_ or []), start=numbers("start", start), rotate=rotate,
            seed=seed,
        )  # fmt: skip
        if output is not None:
            done.save(output, theme)
    console = wide_console()
    if output is None:
        from thalweg.racing.braille import terminal_map

        console.print(terminal_map(done))
    said = done.description()
    console.print(said if output is None else f"{output}  {said}", highlight=False, markup=False, soft_wrap=True)
