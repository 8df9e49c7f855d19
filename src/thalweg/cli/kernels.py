"""`thalweg kernels`: the compiled kernels on this machine."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer
from rich.table import Table

from thalweg.cli.console import wide_console
from thalweg.cli.mistakes import explained

kernels = typer.Typer(help="List, build, show and clear the compiled kernels.", no_args_is_help=True)


ENGINE = typer.Option(help="cpu (C++) or triton.")
DTYPE = typer.Option(help="float32, float64, bfloat16 or float16.")


@kernels.command(name="list")
def list_() -> None:
    """List the kernels in the cache, and where it is."""
    from thalweg.engine import build

    table = Table(box=None, pad_edge=False)
    for title in ("engine", "rule", "types", "file", "bytes", "age"):
        table.add_column(title, justify="right" if title in ("bytes", "age") else "left")
    with explained():
        found = build.kernels()
    for kernel in found:
        facts = kernel.stat()
        rule, types = build.label(kernel)
        size, age = f"{facts.st_size:,}", _age(time.time() - facts.st_mtime)
        table.add_row(build.ENGINES[kernel.suffix], rule or "(of no rule)", types, kernel.name, size, age)
    wide_console().print(table)
    typer.echo(f"in {build.cache_folder()}")


def _age(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


@kernels.command()
def build(
    names: Annotated[list[str] | None, typer.Argument(help="Rules by name or file. Default: all of the house.")] = None,
    dtype: Annotated[str, DTYPE] = "float32",
    engine: Annotated[str, ENGINE] = "cpu",
) -> None:
    """Compile ahead of time: each rule at its defaults, with every setting of its flags.

    What every planned step calls is compiled with the C++ kernels: a step then compiles nothing. A compiler must still
    be there, for kernels are found by its version.

    Triton compiles where its kernels run: without a GPU they are printed only.
    """
    from thalweg import rules
    from thalweg.arguments import with_decay
    from thalweg.engine import cpu, plan, triton
    from thalweg.engine.build import cache_folder
    from thalweg.engine.choice import kernels_can_be_built
    from thalweg.engine.cpp import MEMORY
    from thalweg.engine.trace import trace
    from thalweg.extras import require
    from thalweg.signature import check_flag, signature_of

    with explained():
        check_flag("engine", engine, ("cpu", "triton"))
        check_flag("dtype", dtype, tuple(MEMORY))
        if engine == "triton":
            require("triton", "triton")
        cache_folder()
        chosen = [rules.named(name) for name in names or rules.names()]
        if engine == "cpu" and kernels_can_be_built(engine):
            plan.library()
    for rule in map(with_decay, chosen):
        graphs = {trace(rule, **flags): flags for flags in signature_of(rule).flag_settings()}
        for graph, flags in graphs.items():
            if engine == "triton" and triton.has_kernels(graph):
                _launched(rule, flags, graph, dtype)
            elif engine == "cpu" and cpu.has_kernels(graph):
                slots = [name for name in graph.slots if graph.inputs[name].stage == "element"]
                cpu.program(graph, tuple((name, dtype) for name in ("p", "g", *slots)))
        typer.echo(f"{rule.__name__}: {len(graphs)} built or there already")


def _launched(rule: Any, flags: dict[str, Any], graph: Any, dtype: str) -> None:
    """A step on a small tensor, for which Triton compiles; where its kernels do not run, the printed source alone."""
    import torch

    from thalweg.engine import triton
    from thalweg.engine.cell import Cell, starts
    from thalweg.engine.walk import beginning, gradients
    from thalweg.signature import signature_of

    hyper = {**signature_of(rule).defaults, **flags}
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    p = beginning((1024,), getattr(torch, dtype)).to(device)
    cell = Cell(p, gradients((1024,), 1, p.dtype)[0].to(device), starts(rule, hyper, p))
    triton.program(graph, triton.memory_of(graph, cell))
    if triton.can_run(graph, cell):
        triton.update(rule, [cell], hyper)


@kernels.command()
def show(
    name: Annotated[str, typer.Argument(help="A rule by name or file.")],
    dtype: Annotated[str, DTYPE] = "float32",
    engine: Annotated[str, ENGINE] = "cpu",
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

    with explained():
        found = build.kernels()
    for file in [*found, *build.cache_folder().glob("*.cpp")]:
        file.unlink(missing_ok=True)
    typer.echo(f"{len(found)} kernels deleted from {build.cache_folder()}")
