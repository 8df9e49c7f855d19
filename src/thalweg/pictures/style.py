"""How every picture of thalweg looks: colours, dashes, markers, labels, and the SVG that goes into a page.

A picture has no background and draws text and axes in `INK`, which `svg` turns into `currentColor`: one
picture reads on a light page, on a dark one and on paper.
"""

from __future__ import annotations

import html
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

INK = "#010203"
"""Stands for the colour of the text around the picture; nothing else may be drawn in it."""

HUES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b88000", "#3a9bd0", "#8a8a2b", "#888888")
"""Okabe and Ito's colours, safe for colour-blind readers; the pale ones are a shade darker than theirs, so
that all keep a contrast of 3:1 on white and on a dark page alike."""

DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)), (0, (9, 2)), (0, (3, 1, 1, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "<", "X", ">", "h", "p")

WIDTH = 8.4  # inches; on A4 paper the 9.5 pt text is still 8 pt
SIZE = 9.5

RC: Any = {
    **{key: value for key, value in matplotlib.rcParamsDefault.items() if not key.startswith("backend")},
    "axes.axisbelow": True,
    "axes.edgecolor": INK,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": SIZE,
    "axes.linewidth": 0.7,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": SIZE,
    "axes.titleweight": "bold",
    "axes.unicode_minus": False,  # numbers as in the tables and in code
    "font.size": SIZE,
    "grid.alpha": 0.15,
    "grid.color": INK,
    "grid.linewidth": 0.6,
    "legend.fontsize": SIZE - 0.5,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.8,
    "lines.markersize": 5.5,
    "svg.fonttype": "none",  # text stays text: it can be searched, read aloud, and takes the page's font
    "svg.hashsalt": "thalweg",
    "text.color": INK,
    "text.parse_math": False,  # a metric may be called "cost in $"
    "xtick.color": INK,
    "xtick.labelsize": SIZE - 0.5,
    "ytick.color": INK,
    "ytick.labelsize": SIZE - 0.5,
}
"""matplotlib's own defaults and our changes, whatever the user's matplotlibrc says."""

styled = matplotlib.rc_context(RC)
"""Decorates a function that draws."""


@dataclass(frozen=True)
class Look:
    """How one optimizer is drawn, the same in every picture of a report."""

    colour: str
    dash: Any
    marker: str


def looks(names: Iterable[str]) -> dict[str, Look]:
    """One look for each name; colour, dash and marker differ, so that none is needed to tell two apart.

    >>> [look.marker for look in looks(["SGD", "Adam"]).values()]
    ['o', 's']
    """
    return {
        name: Look(HUES[i % len(HUES)], DASHES[i % len(DASHES)], MARKERS[i % len(MARKERS)])
        for i, name in enumerate(names)
    }


def figure(height: float, rows: int = 1, columns: int = 1, **subplots: Any) -> tuple[Figure, list[Axes]]:
    """A figure of the house's width and `height` inches, and its axes in reading order."""
    made = Figure(figsize=(WIDTH, height), layout="constrained", facecolor="none")
    grid = made.subplots(rows, columns, squeeze=False, **subplots)
    for axes in grid.flat:
        axes.set_facecolor("none")
    return made, list(grid.flat)


def short(value: float | None, digits: int = 4) -> str:
    """A number as one would type it.

    >>> short(0.00001), short(250.0), short(123456.0), short(1.23456e8), short(None)
    ('1e-5', '250', '123456', '1.235e8', '–')
    """
    if value is None:
        return "–"
    value += 0.0  # no minus in front of a zero
    if 10**digits <= abs(value) < 1e6:
        return f"{value:.0f}"
    return re.sub(r"e([+-])0*", lambda sign: "e-" if sign[1] == "-" else "e", f"{value:.{digits}g}")


def clipped(name: str, length: int = 18) -> str:
    """A name that fits beside a picture."""
    return name if len(name) <= length else name[: length - 1] + "…"


def finite(values: Iterable[float | None]) -> list[float]:
    """Those of the values that can be drawn."""
    return [value for value in values if value is not None and math.isfinite(value)]


def wants_log(values: Iterable[float | None]) -> bool:
    """Whether the values are positive and more than a factor of 20 apart."""
    drawn = finite(values)
    return bool(drawn) and min(drawn) > 0 and max(drawn) > 20 * min(drawn)


def log_ticks(axis: Any, most: int = 6) -> None:
    """Decades on a logarithmic axis, written 1e-3 as in code; with 2 and 5 between where decades are few."""
    low, high = axis.get_view_interval()
    few = math.log10(high / low) < most / 3
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,), numticks=most + 1))
    axis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axis.set_minor_locator(NullLocator())


def spread(wanted: Sequence[float], gap: float) -> list[float]:
    """Positions from 0 to 1, as near to the wanted ones as their order and a distance of `gap` allow.

    >>> spread([0.5, 0.0, 0.5], gap=0.2)
    [0.4, 0.0, 0.6]
    """
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    # Less i gaps each, the positions need only not decrease: pool neighbours that do, and use their mean.
    pools: list[list[float]] = []
    for rank, i in enumerate(order):
        pools.append([wanted[i] - rank * gap])
        while len(pools) > 1 and _mean(pools[-2]) > _mean(pools[-1]):
            last = pools.pop()
            pools[-1] += last
    most = max(0.0, 1 - (len(wanted) - 1) * gap)
    flat = [min(max(_mean(pool), 0.0), most) for pool in pools for _ in pool]
    placed = [0.0] * len(wanted)
    for rank, i in enumerate(order):
        placed[i] = round(flat[rank] + rank * gap, 6)
    return placed


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


@dataclass(frozen=True)
class End:
    """Where a line ends, in data coordinates, and the name to write there."""

    name: str
    x: float
    y: float


def label_ends(axes: Axes, ends: Sequence[End], seen: Mapping[str, Look], tall: float | None = None) -> None:
    """Write the names right of the axes, each joined to the end of its line; to be called last.

    `tall` is the height of the axes in inches, where they do not take up most of the figure.
    """
    axes.autoscale_view()  # else transData is still that of the empty axes
    here = axes.transData + axes.transAxes.inverted()
    points = [here.transform((end.x, end.y)) for end in ends]
    if tall is None:
        tall = (axes.figure.get_figheight() if isinstance(axes.figure, Figure) else 3.0) * 0.72
    heights = spread([float(y) for _, y in points], gap=1.25 * SIZE / 72 / tall)
    for end, (x, y), height in zip(ends, points, heights, strict=True):
        look = seen[end.name]
        axes.plot(
            [x, 1.04], [min(max(y, 0.0), 1.0), height], transform=axes.transAxes, clip_on=False,
            color=look.colour, linewidth=0.8, marker=look.marker, markevery=[1], markersize=5,
        )  # fmt: skip
        axes.text(1.065, height, clipped(end.name), transform=axes.transAxes, va="center")


@styled
def svg(picture: Figure, *, name: str, title: str, description: str) -> str:
    """The figure as an `<svg>` element for a page, the same bytes for the same figure.

    `name` goes in front of every id, so that several pictures can live in one page; `title` and
    `description` are what a screen reader says.
    """
    out = io.StringIO()
    picture.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    drawn = out.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    drawn = re.sub(r"\s*<metadata>.*?</metadata>", "", drawn, count=1, flags=re.DOTALL)
    drawn = re.sub(r'<g id="[^"]*"', "<g", drawn)  # matplotlib names every group; nothing refers to them
    drawn = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", drawn)
    drawn = drawn.replace(INK, "currentColor")
    opening, rest = drawn.split(">", 1)
    size = re.compile(r' (?:width|height)="[\d.]+pt"')  # the page decides; the viewBox keeps the proportions
    opening = f'{size.sub("", opening)} role="img" aria-labelledby="{name}-title {name}-desc">'
    title, description = html.escape(title), html.escape(description)
    words = f'<title id="{name}-title">{title}</title><desc id="{name}-desc">{description}</desc>'
    return f"{opening}\n{words}{rest}"
