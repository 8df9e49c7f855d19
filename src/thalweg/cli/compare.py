"""`thalweg compare TASK`: the main job."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from thalweg.cli.console import wide_console
from thalweg.cli.mistakes import INTERRUPTED, THEIR_CODE_RAISED, USER_MISTAKE, explained
from thalweg.extras import locate
from thalweg.lab.budget import PRESETS
from thalweg.lab.candidates import SHORT_LIST

PRESET_HELP = "; ".join(
    f"{b.preset}: {b.points} points each, up to {b.promoted} confirmed on up to {b.looks[-1]} seeds"
    for b in PRESETS.values()
)


def compare(
    task: Annotated[str, typer.Argument(help="A workload (see `thalweg workloads`), or my_task.py, my_task.py:name.")],
    optimizers: Annotated[
        str | None,
        typer.Option(help=f"Names separated by commas, or all.  [default: {','.join(SHORT_LIST)}]", metavar="A,B,C"),
    ] = None,
    budget: Annotated[str, typer.Option(help=f"{PRESET_HELP}.", metavar="|".join(PRESETS))] = "quick",
    steps: Annotated[int | None, typer.Option(help="Training steps of every run.  [default: the task's]")] = None,
    seed: Annotated[int, typer.Option(help="Another seed gives an independent repetition.")] = 0,
    jobs: Annotated[
        int | None, typer.Option(help="Processes of one thread each; 1 stays in this one.  [default: all cores]")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the results.  [default: runs/TASK-DATE]", metavar="DIR")
    ] = None,
    rule: Annotated[
        list[Path] | None,
        typer.Option(help="A rule of your own among the candidates; may be repeated.", metavar="PATH"),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(help="Seconds after which a run counts as hanging.  [default: 60, and 20 times its steps' time]"),
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget the runs that are in DIR.")] = False,
) -> None:
    """Find the optimizer, and its settings, that train a task best.

    Every optimizer gets the same number of runs at the same quasi-random points; the best are run again on
    fresh seeds that decide. Ctrl-C stops, and what is known by then is still written. DIR receives
    report.html, result.json and winner.py, the code to paste, and every run as it ends: `thalweg resume DIR`, or
    the same command with this --out, goes on without repeating one.
    """
    from thalweg.lab.compare import prepared  # loads torch and scipy: not for --help
    from thalweg.lab.faults import RunError
    from thalweg.lab.store import NAME, StoreError

    with explained():
        for package in ("matplotlib", "jinja2"):  # the report's: missing them shall not show at the end
            locate(package)
        comparison = prepared(
            task, optimizers, budget=budget, steps=steps, seed=seed, jobs=jobs, rules=rule or [], timeout=timeout
        )  # fmt: skip
        folder = _reserved(out, Path("runs") / f"{comparison.task.name}-{date.today().isoformat()}", NAME)
    try:
        with _progress() as progress:
            result = comparison.run_in(folder, progress, fresh=fresh)
    except StoreError as error:
        typer.echo(f"thalweg: {error}", err=True)
        raise typer.Exit(USER_MISTAKE) from None
    except RunError as error:
        typer.echo(f"{error.details}\nthalweg: {error}", err=True)
        raise typer.Exit(THEIR_CODE_RAISED) from None
    _show(result, folder)
    if result.data["interrupted"]:
        raise typer.Exit(INTERRUPTED)


def _progress() -> Any:
    from thalweg.lab.progress import lines, live

    console = Console(stderr=True)
    return live(console) if console.is_terminal else nullcontext(lines())


def _reserved(wanted: Path | None, default: Path, store: str) -> Path:
    """Make the folder, so that what cannot be written is known before anything is spent."""
    if wanted is not None:
        if (wanted / "result.json").exists() and not (wanted / store).exists():
            raise ValueError(f"--out is {str(wanted)!r}, which holds a result without its runs; choose another folder.")
        if wanted.exists() and not wanted.is_dir():
            raise ValueError(f"--out is {str(wanted)!r}, which is a file; it must be a folder.")
        wanted.mkdir(parents=True, exist_ok=True)
        return wanted
    folder, number = default, 1
    while True:
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            number += 1
            folder = default.with_name(f"{default.name}-{number}")


# ---- what is printed in the end


def _show(result: Any, folder: Path) -> None:
    console = wide_console()
    console.print(f"\n{result.verdict}\n", highlight=False, markup=False)
    console.print(_table(result))
    for note in result.decision["notes"]:
        console.print(f"Note: {note}.", highlight=False, markup=False)
    console.print()
    for name, what in {"report.html": "the report", "winner.py": "the code", "result.json": "every run"}.items():
        if (folder / name).exists():
            console.print(f"{folder / name}  {what}", highlight=False, markup=False)


def _table(result: Any) -> Table:
    metric, decision = result.data["task"]["metric"], result.decision
    table = Table(box=None, pad_edge=False)
    for title in ("optimizer", "settings"):
        table.add_column(title)
    for title in ("search", f"{metric}, fresh seeds", "leader minus this", "diverged", "ms/step"):
        table.add_column(title, justify="right")
    against = {c["rival"]: c for c in decision["comparisons"]}
    for name, known in sorted(result.data["optimizers"].items(), key=lambda item: _rank(item[1], result.data)):
        table.add_row(
            name,
            _settings(known["chosen"]),
            _number(known["search_best"]),
            _interval(known["confirmed"], "mean") if known["confirmed"] else "not confirmed",
            _interval(against.get(name), "difference"),
            f"{known['diverged']} of {known['trials']}",
            _number(known["milliseconds_per_step"], 3),
            style="bold" if name == decision["recommended"] else None,
        )
    return table


def _rank(known: dict, data: dict) -> tuple[int, float]:
    """Confirmed ones by their mean, then the others by their search value, then those that always diverged."""
    sign = -1 if data["task"]["mode"] == "max" else 1
    if known["confirmed"]:
        return 0, sign * known["confirmed"]["mean"]
    return (2, 0.0) if known["search_best"] is None else (1, sign * known["search_best"])


def _settings(chosen: dict | None) -> str:
    def shown(value: Any) -> str:
        return f"({', '.join(map(shown, value))})" if isinstance(value, list) else f"{value:.4g}"

    return " ".join(f"{name}={shown(value)}" for name, value in (chosen or {}).items())


def _interval(found: dict | None, key: str) -> str:
    if found is None:
        return ""
    interval = "" if found["low"] is None else f" [{found['low']:.4g}, {found['high']:.4g}]"
    return f"{found[key]:.4g}{interval}"


def _number(value: float | None, digits: int = 4) -> str:
    return "" if value is None else f"{value:.{digits}g}"
