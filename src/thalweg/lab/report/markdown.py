"""The report as Markdown: the same words and tables as the page, for a repository, a message, a note."""

from __future__ import annotations

from thalweg.lab.report.data import Data
from thalweg.lab.report.page import rendered


def markdown(data: Data) -> str:
    """The report as Markdown."""
    return rendered("report.md.jinja", data, autoescape=False)
