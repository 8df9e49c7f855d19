"""What a comparison prints in the end: its verdict, a table, and where the files are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table

from thalweg.cli.console import wide_console


def show(result: Any, folder: Path) -> None:
    """Print it."""
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
    from thalweg.lab.report.words import chosen_format  # draws: not for --help

    metric, decision, chosen = result.data["task"]["metric"], result.decision, chosen_format(result.data)
    table = Table(box=None, pad_edge=False)
    for title in ("optimizer", "settings"):
        table.add_column(title)
    for title in ("search", f"{metric}, fresh seeds", "leader minus this", "diverged", "ms/step"):
        table.add_column(title, justify="right")
    against = {c["rival"]: c for c in decision["comparisons"]}
    for name, known in sorted(result.data["optimizers"].items(), key=lambda item: _rank(item[1], result.data)):
        table.add_row(
            name,
            " ".join(chosen(known)),
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


def _interval(found: dict | None, key: str) -> str:
    if found is None:
        return ""
    interval = "" if found["low"] is None else f" [{found['low']:.4g}, {found['high']:.4g}]"
    return f"{found[key]:.4g}{interval}"


def _number(value: float | None, digits: int = 4) -> str:
    return "" if value is None else f"{value:.{digits}g}"
