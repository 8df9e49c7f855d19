"""How much the learning rate matters: every trial of a search against its lr, one panel per optimizer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from thalweg.pictures.style import INK, SIZE, Look, clipped, figure, finite, log_ticks, styled, wants_log

COLUMNS = 3


@dataclass(frozen=True)
class Trial:
    """One run of a search; its value is None where it diverged."""

    lr: float
    value: float | None
    default: bool = False


@dataclass(frozen=True)
class Search:
    """The trials of one optimizer, the edges of the lr it searched, and the lr that was chosen."""

    trials: Sequence[Trial]
    edges: tuple[float, float] | None = None
    chosen: float | None = None


def window(trials: Sequence[Trial], mode: str) -> tuple[float, float] | None:
    """The lrs around the best trial's up to which every trial is within 5 % of the best value.

    >>> window([Trial(1e-3, 1.0), Trial(1e-2, 1.04), Trial(1e-1, 1.2), Trial(1.0, 1.01)], "min")
    (0.001, 0.01)
    """
    sign = 1 if mode == "min" else -1
    ordered = sorted(trials, key=lambda trial: trial.lr)
    losses = [math.inf if not finite([trial.value]) else sign * (trial.value or 0.0) for trial in ordered]
    if not finite(losses):
        return None
    best = min(losses)
    good = [loss <= best + 0.05 * abs(best) for loss in losses]
    low = high = losses.index(best)
    while low > 0 and good[low - 1]:
        low -= 1
    while high + 1 < len(good) and good[high + 1]:
        high += 1
    return ordered[low].lr, ordered[high].lr


@styled
def sensitivity(searches: Mapping[str, Search], seen: Mapping[str, Look], *, metric: str, mode: str) -> Figure:
    """Every trial's value against its lr, failures at the bad edge, the window within 5 % of the best."""
    rows = math.ceil(len(searches) / COLUMNS)
    drawn, every = figure(0.75 + 2.05 * rows, rows, COLUMNS, sharex=True, sharey=True)
    _scales(every[0], list(searches.values()), mode)
    for axes, (name, search) in zip(every, searches.items(), strict=False):
        _panel(axes, clipped(name), search, seen[name], mode)
    for axes in every[len(searches) :]:
        axes.set_visible(False)
    for at, axes in enumerate(every[: len(searches)]):
        if at + COLUMNS >= len(searches):  # nothing below it
            axes.tick_params(labelbottom=True)
            axes.set_xlabel("lr")
    drawn.supylabel(clipped(metric, 22 * rows), fontsize=SIZE, y=0.58)
    drawn.legend(handles=_legend(), loc="outside lower center", ncols=3)
    return drawn


def _scales(axes: Axes, searches: Sequence[Search], mode: str) -> None:
    """Limits for all panels, with room for the failures on the side of the worse values."""
    trials = [trial for search in searches for trial in search.trials]
    lrs = [trial.lr for trial in trials] + [edge for search in searches for edge in search.edges or ()]
    axes.set_xscale("log")
    axes.set_xlim(min(lrs) / 2, max(lrs) * 2)
    log_ticks(axes.xaxis, most=4)
    values = finite(trial.value for trial in trials) or [0.0, 1.0]
    low, high = min(values), max(values)
    before, after = (0.1, 0.18) if mode == "min" else (0.18, 0.1)
    if wants_log(values):
        axes.set_yscale("log")
        axes.set_ylim(low / (high / low) ** before, high * (high / low) ** after)
        log_ticks(axes.yaxis, most=5)
    else:
        span = high - low or abs(high) or 1.0
        axes.set_ylim(low - before * span, high + after * span)


def _panel(axes: Axes, name: str, search: Search, look: Look, mode: str) -> None:
    axes.set_title(name)
    if search.edges:
        for edge in search.edges:
            axes.axvline(edge, color=INK, linewidth=0.9, linestyle=(0, (2, 2)), alpha=0.6)
    if span := window(search.trials, mode):
        low, high = span
        axes.axvspan(low / 1.08, high * 1.08, color=look.colour, alpha=0.16, linewidth=0)
        axes.set_title(f"{math.log10(high / low):.1f} decades", loc="right", fontsize=SIZE - 1, fontweight="normal")
    for trial in search.trials:
        _mark(axes, trial, look, mode, chosen=trial.lr == search.chosen)


def _mark(axes: Axes, trial: Trial, look: Look, mode: str, *, chosen: bool) -> None:
    if trial.value is not None and math.isfinite(trial.value):
        if trial.default:
            star: dict[str, Any] = {
                "marker": "*",
                "markersize": 11,
                "markeredgecolor": INK,
                "markeredgewidth": 0.8,
            }
            axes.plot([trial.lr], [trial.value], color=look.colour, **star)
        else:
            axes.plot([trial.lr], [trial.value], color=look.colour, marker=look.marker, alpha=0.9)
        if chosen:
            axes.plot([trial.lr], [trial.value], color=INK, marker="o", markersize=12, fillstyle="none")
        return
    # A failure has no value: it stands at the edge of the axes, wherever their limits are.
    edge = {"transform": axes.get_xaxis_transform(), "color": INK}
    height = 0.95 if mode == "min" else 0.05
    axes.plot([trial.lr], [height], marker="x", markersize=6.5, markeredgewidth=1.6, **edge)
    if trial.default:
        axes.plot([trial.lr], [height], marker="*", markersize=15, fillstyle="none", **edge)


def _legend() -> list[Line2D | Patch]:
    def mark(marker: str, label: str, **kwargs: float | str) -> Line2D:
        return Line2D([], [], color=INK, marker=marker, linestyle="none", label=label, **kwargs)  # type: ignore[arg-type]

    return [
        mark("o", "a trial"),
        mark("*", "the default", markersize=10),
        mark("o", "chosen", markersize=10, fillstyle="none"),
        mark("x", "diverged: no value"),
        Line2D([], [], color=INK, linestyle=(0, (2, 2)), alpha=0.6, label="edge of the space"),
        Patch(facecolor=INK, alpha=0.16, label="within 5 % of the best"),
    ]
