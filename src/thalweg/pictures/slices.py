"""Slices: every trial's value against one of its hyper-parameters, a row of panels per optimizer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from thalweg.pictures.style import INK, SIZE, Look, clipped, figure, finite, log_ticks, short, styled, wants_log

COLUMNS = 4
Scale = Literal["log", "1-log"]


@dataclass(frozen=True)
class Slice:
    """The trials of one optimizer against one hyper-parameter.

    `points` are (setting, value), the value None where the run diverged; on the scale "1-log" the axis is
    logarithmic in 1 minus the setting. `chosen` is the setting that was taken.
    """

    optimizer: str
    hyper: str
    points: Sequence[tuple[float, float | None]]
    scale: Scale
    chosen: float | None = None


@styled
def slices(shown: Sequence[Slice], seen: Mapping[str, Look], *, metric: str, mode: str) -> Figure:
    """One panel per optimizer and hyper-parameter, all with the same vertical axis."""
    columns = min(COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    drawn, every = figure(0.6 + 1.9 * rows, rows, columns, sharey=True)
    values = finite(value for each in shown for _, value in each.points)
    if wants_log(values):
        every[0].set_yscale("log")
    for axes, each in zip(every, shown, strict=False):
        _panel(axes, each, seen[each.optimizer], mode)
    if wants_log(values):
        log_ticks(every[0].yaxis, most=5)
    for axes in every[len(shown) :]:
        axes.set_visible(False)
    drawn.supylabel(clipped(metric, 22 * rows), fontsize=SIZE)
    return drawn


def _panel(axes: Axes, each: Slice, look: Look, mode: str) -> None:
    def place(setting: float) -> float:
        return 1 - setting if each.scale == "1-log" else setting

    axes.set_xscale("log")
    axes.set_title(f"{clipped(each.optimizer, 12)}: {clipped(each.hyper, 14)}", fontsize=SIZE - 0.5)
    for setting, value in each.points:
        if value is not None and math.isfinite(value):
            axes.plot([place(setting)], [value], color=look.colour, marker=look.marker, alpha=0.9)
            if setting == each.chosen:
                axes.plot([place(setting)], [value], color=INK, marker="o", markersize=12, fillstyle="none")
        else:
            height = 0.95 if mode == "min" else 0.05
            axes.plot(
                [place(setting)], [height], marker="x", markersize=6.5, markeredgewidth=1.6, color=INK,
                transform=axes.get_xaxis_transform(),
            )  # fmt: skip
    if axes.has_data() and each.points:
        log_ticks(axes.xaxis, most=6)
    if each.scale == "1-log":
        axes.invert_xaxis()  # towards 1: more memory, to the right
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: short(1 - x)))
