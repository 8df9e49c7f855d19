"""What a step costs: time and memory, as bars."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from thalweg.pictures.style import Look, clipped, figure, short, styled


@styled
def cost(panels: Mapping[str, Mapping[str, float]], seen: Mapping[str, Look]) -> Figure:
    """One panel per kind of cost, one bar per optimizer: `{"ms per step": {"Adam": 0.4}, ...}`."""
    names = list(dict.fromkeys(name for bars in panels.values() for name in bars))
    drawn, every = figure(0.75 + 0.27 * len(names), columns=len(panels), sharey=True)
    for axes, (what, bars) in zip(every, panels.items(), strict=True):
        rows = [names.index(name) for name in bars]
        axes.barh(rows, list(bars.values()), height=0.62, color=[seen[name].colour for name in bars])
        for row, value in zip(rows, bars.values(), strict=True):
            axes.annotate(short(value, 3), (value, row), xytext=(4, 0), textcoords="offset points", va="center")
        axes.set_xlim(0, 1.18 * max(bars.values(), default=1.0) or 1.0)
        axes.set_title(what)
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.locator_params(axis="x", nbins=5)
    every[0].set_yticks(range(len(names)), [clipped(name) for name in names])
    every[0].set_ylim(len(names) - 0.5, -0.5)
    return drawn
