"""`thalweg workloads`: the tasks that come with the house."""

from __future__ import annotations

from rich.table import Table

from thalweg.cli.console import wide_console
from thalweg.cli.mistakes import explained


def workloads() -> None:
    """List the tasks that come with thalweg: real trainings that run on a laptop."""
    from thalweg import workloads as shipped

    table = Table(box=None, pad_edge=False)
    for title in ("name", "metric", "better", "steps", "parameters", "description"):
        table.add_column(title, justify="right" if title in ("steps", "parameters") else "left")
    with explained():
        for name in shipped.names():
            task = shipped.load(name)
            count = sum(p.numel() for p in task.build(0).parameters() if p.requires_grad)
            better = "higher" if task.mode == "max" else "lower"
            table.add_row(name, task.metric_name, better, f"{task.steps:,}", f"{count:,}", task.description)
    wide_console().print(table)
