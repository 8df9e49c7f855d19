"""Light and dark: pictures with a page of their own, for files that are looked at outside a report."""

from __future__ import annotations

import re
from dataclasses import dataclass

import matplotlib
from matplotlib.figure import Figure

from thalweg.pictures.style import INK, RC, svg
from thalweg.signature import did_you_mean


@dataclass(frozen=True)
class Theme:
    """The colours of a page. `low` and `high` shade the deepest and the highest ground of a map."""

    paper: str
    ink: str
    low: str
    high: str
    void: str  # where there is nothing to show: a run diverged


THEMES = {
    "light": Theme(paper="#ffffff", ink="#1b1f24", low="#c6d4e1", high="#ffffff", void="#d0d0d0"),
    "dark": Theme(paper="#15181c", ink="#e4e6e8", low="#0a0c0e", high="#333b44", void="#4a4d50"),
}
LOSSES = "cividis_r"  # the lowest loss is the brightest; reads the same to colour-blind eyes
_PLACES = re.compile(r' (?:d|x|y)="[^"]*"')
_LONG = re.compile(r"(\d+\.\d)\d+")
_PAGE = re.compile(r"(<desc [^>]*>.*?</desc>)", re.DOTALL)


def _shorter(places: str) -> str:
    """Coordinates to a tenth of a point: less cannot be seen; and straight lines without a letter for each."""
    places = _LONG.sub(r"\1", places)
    return places if re.search("[CQ]", places) else re.sub(r"\s+L ", " ", places)


def find(name: str) -> Theme:
    """The theme of that name.

    >>> find("dark").paper
    '#15181c'
    """
    if name not in THEMES:
        raise ValueError(f"theme is {name!r}; it must be one of {', '.join(THEMES)}.{did_you_mean(name, THEMES)}")
    return THEMES[name]


def themed(theme: Theme):
    """The house's style with this page's ink: a context in which to draw."""
    return matplotlib.rc_context({key: theme.ink if value == INK else value for key, value in RC.items()})


def page(drawn: Figure, theme: Theme, *, name: str, title: str, description: str) -> str:
    """The figure as an SVG file on the theme's paper; the same bytes for the same figure."""
    text = svg(drawn, name=name, title=title, description=description)
    text = _PLACES.sub(lambda found: _shorter(found[0]), text)
    paper = f'<rect width="100%" height="100%" fill="{theme.paper}"/>'
    return _PAGE.sub(lambda found: found[0] + paper, text, count=1)
