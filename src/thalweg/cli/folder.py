"""`thalweg resume`, `report`, `runs` and `export`: what can be done with the folder of a comparison."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from thalweg.cli import options
from thalweg.cli.console import wide_console
from thalweg.cli.mistakes import USER_MISTAKE, explained
from thalweg.cli.running import performed

Out = Annotated[Path, typer.Argument(help="The folder of a comparison (--out).", metavar="DIR")]


def resume(
    out: Out,
    jobs: Annotated[int | None, typer.Option(help="Processes.  [default: as before]")] = None,
    cluster: Annotated[
        str | None, typer.Option(help="Where the runs are made.  [default: as before]", metavar=options.WHERE)
    ] = None,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Go on with a comparison: after Ctrl-C, a crash, a reboot.

    No run is repeated, and the result is that of a comparison that was never interrupted.
    """
    from thalweg.lab.folder import prepared_again

    performed(lambda: (prepared_again(out, jobs=jobs, cluster=cluster), out), quiet=quiet, as_json=as_json)


def report(out: Out) -> None:
    """Write the report of a comparison again, from its result.json."""
    from thalweg.lab.folder import load
    from thalweg.lab.report import write_report

    with explained():
        write_report(load(out).result, out)
    typer.echo(out / "report.html")


def runs(
    out: Out,
    failed: Annotated[bool, typer.Option("--failed", help="Those that failed, with their tracebacks.")] = False,
) -> None:
    """List the runs of a comparison, also while it goes on, each as far as it came."""
    from thalweg.lab.folder import load
    from thalweg.lab.report.words import size

    with explained():
        rows = load(out).furthest
    tuned = len({row["schedule"] for row in rows}) > 1
    if failed:
        for row in rows:
            if row["run"].failed:
                typer.echo(f"{row['optimizer']} {_settings(row, tuned)} seed {row['seed']} ({row['phase']})")
                typer.echo(f"{row['run'].details}\n{row['run'].error}\n")
        typer.echo(f"{sum(row['run'].failed for row in rows)} of {len(rows)} runs failed")
        return
    table = Table(box=None, pad_edge=False)
    for title in ("optimizer", "settings", "phase", "seed", "steps", "final", "seconds", "memory", ""):
        table.add_column(title, justify="left" if title in ("optimizer", "settings", "phase", "") else "right")
    for row in rows:
        run = row["run"]
        rung = f"stopped at step {row['until']:,} of {row['steps']:,}" if row["until"] else ""
        said = f"failed: {run.error}" if run.failed else f"diverged: {run.why}" if run.diverged else rung
        final = "" if run.final is None else f"{run.final:.4g}"
        about = (row["optimizer"], _settings(row, tuned), row["phase"], str(row["seed"]), str(run.steps), final)
        table.add_row(*about, f"{run.seconds:.2f}", size(run.memory), said.partition("\n")[0])
    wide_console().print(table)


def _settings(row: dict[str, Any], schedule: bool = False) -> str:
    return " ".join(
        [*(f"{name}={value:.4g}" for name, value in row["hyper"]), *([row["schedule"]] if schedule else [])]
    )


def export(
    out: Out,
    optuna: Annotated[bool, typer.Option("--optuna", help="Optuna studies in DIR/optuna.db.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="DIR/runs.csv and DIR/curves.csv.")] = False,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Event files in DIR/tensorboard.")] = False,
) -> None:
    """Write the runs of a comparison for other tools; files of an earlier export are replaced."""
    from thalweg.lab import exports
    from thalweg.lab.folder import load

    if not (optuna or csv or tensorboard):
        typer.echo("thalweg: to what? Give one or more of --optuna, --csv, --tensorboard.", err=True)
        raise typer.Exit(USER_MISTAKE)
    with explained():
        found = load(out)
        if not found.rows:
            typer.echo(f"thalweg: {str(out)!r} holds no run yet; thalweg resume {out} goes on.", err=True)
            raise typer.Exit(USER_MISTAKE)
        for wanted, write in ((csv, exports.csv), (optuna, exports.optuna), (tensorboard, exports.tensorboard)):
            if wanted:
                for path in write(found):
                    typer.echo(path)
