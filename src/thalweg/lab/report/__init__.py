"""The report of a comparison, made from the dictionary that is saved as result.json and from nothing more.

So a report can be made again from the file. Whatever a comparison that was stopped early does not know is left out
or said so.
"""

from __future__ import annotations

from pathlib import Path

from thalweg.lab.files import write
from thalweg.lab.report.data import Data
from thalweg.lab.report.markdown import markdown
from thalweg.lab.report.page import render
from thalweg.lab.report.paper import paper

__all__ = ["markdown", "paper", "render", "write_report"]


def write_report(data: Data, folder: Path) -> None:
    """Write ``report.html``, ``report.md`` and the folder ``paper`` (a figure as svg and pdf, a LaTeX table).

    All are made before the first is written, and each appears whole or not at all.
    """
    files: dict[str, str | bytes] = {"report.html": render(data), "report.md": markdown(data)}
    files |= {f"paper/{name}": content for name, content in paper(data).items()}
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, content)
