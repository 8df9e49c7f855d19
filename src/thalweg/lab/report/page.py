"""The report as one HTML file that needs nothing else, on a screen, offline or on paper."""

from __future__ import annotations

from pathlib import Path

from thalweg.extras import require
from thalweg.lab.report.data import Data, part
from thalweg.lab.report.drawings import pictures
from thalweg.lab.report.tables import rows
from thalweg.lab.report.words import code, events, is_confirmed, ledger_sentence, metric_format, seeds, settings
from thalweg.pictures.style import short


def render(data: Data) -> str:
    """The report as HTML."""
    jinja2 = require("jinja2")
    source = Path(__file__).with_name("report.html.jinja").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(number=short, metric=metric_format(data), settings=settings)
    return environment.from_string(source).render(
        data=data,
        decision=part(data, "decision"),
        task=part(data, "task"),
        budget=part(data, "budget"),
        ledger=part(part(data, "budget"), "ledger"),
        spaces=part(data, "spaces"),
        code=code(data),
        confirmed=is_confirmed(data),
        optimizers=list(part(data, "optimizers")),
        rows=rows(data),
        pictures=pictures(data),
        ledger_sentence=ledger_sentence(data),
        events=events(data),
        seeds=seeds(data),
    )
