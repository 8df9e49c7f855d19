"""`thalweg kernels`: the compiled kernels on this machine."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from thalweg.cli.console import wide_console
from thalweg.cli.mistakes import explained

kernels = typer.Typer(help="List, build, show and clear the compiled kernels.", no_args_is_help=True)


@kernels.command(name="list")
def list_() -> None:
    """List the kernels in the cache, and where it is."""
    from thalweg.engine import build

    table = Table(box=None, pad_edge=False)
    for title in ("rule", "types", "file", "bytes"):
        table.add_column(title, justify="right" if title == "bytes" else "left")
    folder = build.cache_folder()
    for library in sorted(folder.glob("*.so")):
        rule, types = build.label(library)
        table.add_row(rule, types, library.name, f"{library.stat().st_size:,}")
    wide_console().print(table)
    typer.echo(f"in {folder}")


@kernels.command()
def build(
    names: Annotated[list[str] | None, typer.Argument(help="Rules by name or file. Default: all of the house.")] = None,
    dtype: Annotated[str, typer.Option(help="float32, float64, bfloat16 or float16.")] = "float32",
) -> None:
    """Compile ahead of time: each rule at its defaults, with every setting of its flags."""
    from thalweg import rules
    from thalweg.arguments import with_decay
    from thalweg.engine import cpu
    from thalweg.engine.cpp import MEMORY
    from thalweg.engine.trace import trace
    from thalweg.signature import check_flag, signature_of

    with explained():
        check_flag("dtype", dtype, tuple(MEMORY))
        chosen = [rules.named(name) for name in names or rules.names()]
    for rule in map(with_decay, chosen):
        graphs = {trace(rule, **flags) for flags in signature_of(rule).flag_settings()}
        for graph in graphs:
            if cpu.has_kernels(graph):
                slots = [name for name in graph.slots if graph.inputs[name].stage == "element"]
                cpu.program(graph, tuple((name, dtype) for name in ("p", "g", *slots)))
        typer.echo(f"{rule.__name__}: {len(graphs)} built or there already")


@kernels.command()
def show(
    name: Annotated[str, typer.Argument(help="A rule by name or file.")],
    dtype: Annotated[str, typer.Option(help="float32, float64, bfloat16 or float16.")] = "float32",
    engine: Annotated[str, typer.Option(help="cpu (C++) or triton.")] = "cpu",
) -> None:
    """Print the C++ or Triton of a rule at its defaults."""
    from thalweg import rules
    from thalweg.arguments import with_decay
    from thalweg.engine import triton_source
    from thalweg.engine.cpp import MEMORY, print_kernels
    from thalweg.engine.trace import trace
    from thalweg.signature import check_flag

    with explained():
        check_flag("engine", engine, ("cpu", "triton"))
        check_flag("dtype", dtype, tuple(MEMORY))
        graph = trace(with_decay(rules.named(name)))
    types = dict.fromkeys(("p", "g", *graph.slots), dtype)
    if engine == "triton":
        typer.echo(triton_source.print_kernels(graph, types).source)
        return
    typer.echo(print_kernels(graph, types, "double" if dtype == "float64" else "float")[0])


@kernels.command()
def clear() -> None:
    """Delete every compiled kernel; they are built again when they are needed."""
    from thalweg.engine import build

    files = [file for kind in ("so", "cpp", "py") for file in build.cache_folder().glob(f"*.{kind}")]
    for file in files:
        file.unlink(missing_ok=True)
    typer.echo(f"{sum(file.suffix == '.so' for file in files)} kernels deleted from {build.cache_folder()}")
