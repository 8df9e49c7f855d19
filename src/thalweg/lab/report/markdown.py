"""The report as Markdown: the page's main tables, spaces and facts, for a repository, a message, a note."""

from __future__ import annotations

from thalweg.lab.report.data import Data
from thalweg.lab.report.page import rendered


def markdown(data: Data) -> str:
    """The report as Markdown."""
    return rendered("report.md.jinja", data, autoescape=False)
