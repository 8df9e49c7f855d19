"""The figure of a comparison for a paper: curves on the left, final quality on the right, one column wide each."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from thalweg.pictures.curves import Curve, draw_curves
from thalweg.pictures.quality import Quality, draw_quality
from thalweg.pictures.style import INK, RC, Look, clipped

WIDTH, HEIGHT = 7.0, 2.5  # inches: the text width of most conferences
SIZE = 8.0
BLACK = "#000000"

_PAPER: Any = {key: BLACK if value == INK else value for key, value in RC.items()} | {
    **dict.fromkeys(("font.size", "axes.labelsize", "axes.titlesize", "legend.fontsize"), SIZE),
    **dict.fromkeys(("xtick.labelsize", "ytick.labelsize"), SIZE - 1),
    "lines.linewidth": 1.4,
    "lines.markersize": 4.0,
    "pdf.fonttype": 42,  # letters that journals accept and readers can search
    "svg.fonttype": "path",  # looks the same whatever fonts are there
}


def paper_figure(
    runs: Mapping[str, Sequence[Curve]], shown: Sequence[Quality], seen: Mapping[str, Look], *, metric: str, mode: str
) -> Figure:
    """Learning curves of the metric with their bands, and the mean of every confirmed optimizer with its interval."""
    with matplotlib.rc_context(_PAPER):
        drawn = Figure(figsize=(WIDTH, HEIGHT), layout="constrained", facecolor="white")
        left, right = drawn.subplots(1, 2)
        draw_curves(left, runs, seen, mode)
        left.set_ylabel(clipped(metric, 30))
        draw_quality(right, shown, seen)
        right.set_xlabel(clipped(metric, 30))
        return drawn


def saved(drawn: Figure, kind: str) -> bytes:
    """The figure as the bytes of an ``svg`` or ``pdf`` file, the same for the same figure."""
    out = io.BytesIO()
    dates = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with matplotlib.rc_context(_PAPER):
        drawn.savefig(out, format=kind, metadata=dates[kind])
    return out.getvalue()
