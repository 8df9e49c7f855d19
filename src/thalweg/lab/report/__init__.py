"""The report of a comparison, made from the dictionary that is saved as result.json and from nothing more.

So a report can be made again from the file. Whatever a comparison that was stopped early does not know is left out
or said so.
"""

from __future__ import annotations

from pathlib import Path

from thalweg.lab.files import write
from thalweg.lab.report.data import Data
from thalweg.lab.report.page import render

__all__ = ["render", "write_report"]


def write_report(data: Data, path: Path) -> None:
    """Write the report of a result to `path`; the file appears whole or not at all."""
    write(path, render(data))
