"""The report as one HTML file that needs nothing else, on a screen, offline or on paper."""

from __future__ import annotations

from pathlib import Path

from thalweg.extras import require
from thalweg.lab.report.data import Data, part
from thalweg.lab.report.drawings import decades, pictures
from thalweg.lab.report.tables import rows
from thalweg.lab.report.words import (
    ahead,
    chosen_format,
    code,
    events,
    halving,
    heading,
    is_confirmed,
    ledger_sentence,
    metric_format,
    missing,
    overhead,
    ranges,
    reporting,
    seeds,
    size,
    stacking,
)
from thalweg.pictures.style import short


def render(data: Data) -> str:
    """The report as HTML."""
    return rendered("report.html.jinja", data, autoescape=True, pictures=pictures(data))


def rendered(template: str, data: Data, *, autoescape: bool, **more: object) -> str:
    """A template of this folder, filled in from the data."""
    jinja2 = require("jinja2")
    source = Path(__file__).with_name(template).read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=autoescape, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    words = {"metric": metric_format(data), "chosen": chosen_format(data), "ahead": ahead, "size": size}
    environment.filters.update(number=short, cell=_cell, **words)
    return environment.from_string(source).render(
        data=data,
        heading=heading(data),
        decision=part(data, "decision"),
        task=part(data, "task"),
        budget=part(data, "budget"),
        ledger=part(part(data, "budget"), "ledger"),
        spaces=part(data, "spaces"),
        ranges=ranges(data),
        reporting=reporting(data),
        overhead=overhead(data),
        code=code(data),
        confirmed=is_confirmed(data),
        optimizers=list(part(data, "optimizers")),
        rows=rows(data),
        ledger_sentence=ledger_sentence(data),
        events=events(data),
        seeds=seeds(data),
        target=part(data, "target"),
        stacking=stacking(data),
        halving=halving(data),
        missing=missing(data),
        decades=decades(data),
        **more,
    )


def _cell(text: str) -> str:
    """Text that cannot end a cell of a Markdown table."""
    return text.replace("|", "\\|").replace("\n", " ")
