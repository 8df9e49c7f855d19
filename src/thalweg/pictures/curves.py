"""Curves: how runs went on step by step, and how good a search of n trials can be expected to be."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from thalweg.pictures.style import (
    End,
    Look,
    clipped,
    figure,
    finite,
    label_ends,
    log_ticks,
    styled,
    wants_log,
)

MOST = 400  # points of a line: more cannot be seen, but would have to be stored

Curve = Sequence[tuple[float, float | None]]
"""(step, value); None where nothing was measured or the run had diverged."""


@dataclass(frozen=True)
class Band:
    """The median of several runs step by step, and the quartiles around it."""

    steps: list[float]
    median: list[float]
    low: list[float]
    high: list[float]


def band(curves: Sequence[Curve], mode: str = "min") -> Band:
    """Median and quartiles at every step at which some run has a value.

    A run without a value there has diverged, and counts as worse than all others: leaving it out would
    flatter the rest.

        >>> band([[(0, 4.0), (9, 1.0)], [(0, 5.0), (9, 2.0)], [(0, 6.0), (9, None)]]).median
        [5.0, 2.0]
    """
    steps = sorted({step for curve in curves for step, value in curve if finite([value])})
    if len(steps) > MOST:
        steps = [steps[i] for i in np.linspace(0, len(steps) - 1, MOST).round().astype(int)]
    worst = math.inf if mode == "min" else -math.inf
    known = [dict(curve) for curve in curves]
    table = np.array([[(finite([run.get(step)]) or [worst])[0] for step in steps] for run in known])
    table = table.reshape(len(known), len(steps))
    quartiles = [[_quantile(column, q) for column in table.T] for q in (0.5, 0.25, 0.75)]
    return Band(steps, *quartiles)


def _quantile(values: np.ndarray, q: float) -> float:
    # np.quantile gives nan next to an infinite value; here the infinite stay infinite.
    ordered = np.sort(values)
    at = q * (len(ordered) - 1)
    low, high = ordered[math.floor(at)], ordered[math.ceil(at)]
    part = at - math.floor(at)
    return float(low if low == high else (1 - part) * low + part * high)


@styled
def learning_curves(
    panels: Mapping[str, Mapping[str, Sequence[Curve]]],
    seen: Mapping[str, Look],
    modes: Mapping[str, str],
    unit: str = "step",
) -> Figure:
    """One panel per quantity, one line with its band per optimizer.

    `panels` is `{"loss": {"Adam": [curve of a seed, ...], ...}, ...}`;
    `modes` says of each quantity whether "min" or "max" is better, `unit` what is counted to the right. The
    axis covers what happens after the first quarter; the fall from the start would hide everything else.
    """
    drawn, every = figure(3.5, columns=len(panels))
    for axes, (what, runs) in zip(every, panels.items(), strict=True):
        draw_curves(axes, runs, seen, modes[what], unit)
        axes.set_title(clipped(what, 40))
    return drawn


def draw_curves(
    axes: Axes, runs: Mapping[str, Sequence[Curve]], seen: Mapping[str, Look], mode: str, unit: str = "step"
) -> None:
    """The lines and bands of one quantity on axes that are there."""
    bands = {name: band(curves, mode) for name, curves in runs.items()}
    bands = {name: each for name, each in bands.items() if each.steps}
    for name, each in bands.items():
        _draw(axes, name, each, seen[name])
    _zoom(axes, list(bands.values()))
    axes.set_xlabel(unit)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=unit == "step"))
    ends = [End(name, each.steps[i], each.median[i]) for name, each in bands.items() if (i := _last(each)) >= 0]
    label_ends(axes, ends, seen)


def _draw(axes: Axes, name: str, each: Band, look: Look) -> None:
    axes.fill_between(each.steps, each.low, each.high, color=look.colour, alpha=0.18, linewidth=0)
    axes.plot(each.steps, each.median, color=look.colour, linestyle=look.dash, label=name)


def _last(each: Band) -> int:
    return max((i for i, value in enumerate(each.median) if math.isfinite(value)), default=-1)


def _zoom(axes: Axes, bands: Sequence[Band]) -> None:
    end = max((each.steps[-1] for each in bands), default=0.0)
    late = [
        value
        for each in bands
        for step, *values in zip(each.steps, each.median, each.low, each.high, strict=True)
        if step >= end / 4
        for value in finite(values)
    ]
    _limit(axes, late)


def _limit(axes: Axes, values: Sequence[float]) -> None:
    """Fit the vertical axis to the values, logarithmic where they need it."""
    if not values:
        return
    low, high = min(values), max(values)
    if wants_log(values):
        axes.set_yscale("log")
        room = (high / low) ** 0.05
        axes.set_ylim(low / room, high * room)
        log_ticks(axes.yaxis)
    else:
        room = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
        axes.set_ylim(low - room, high + room)
    axes.margins(x=0.02)


@styled
def tuning_curves(curves: Mapping[str, Curve], seen: Mapping[str, Look], *, metric: str) -> Figure:
    """The best value to be expected from n trials, n = 1, 2, ...: one line per optimizer."""
    drawn, (axes,) = figure(3.3)
    ends = []
    for name, curve in curves.items():
        points = [(n, value) for n, value in curve if value is not None and math.isfinite(value)]
        if not points:
            continue
        trials, values = zip(*points, strict=True)
        look = seen[name]
        axes.plot(trials, values, color=look.colour, linestyle=look.dash, marker=look.marker, label=name)
        ends.append(End(name, trials[-1], values[-1]))
    _limit(axes, [value for line in axes.lines for value in np.asarray(line.get_ydata()).tolist()])
    axes.set_xlabel("trials")
    axes.set_ylabel(f"expected best {clipped(metric, 24)}")
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    label_ends(axes, ends, seen)
    return drawn
