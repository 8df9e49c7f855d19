"""The rate of convergence over two settings: bright is fast, grey diverges, a line marks the edge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from thalweg.card import Log, OneMinusLog
from thalweg.pictures.style import SIZE, clipped, log_ticks, short
from thalweg.pictures.theme import LOSSES, Theme, find, themed

if TYPE_CHECKING:
    from thalweg.racing.rates import Axis, RateMap

SLOWEST = 1e4  # steps per decimal digit: beyond, nothing is seen to happen
NEAR_ONE = (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999)


def picture(rates: RateMap, theme: str = "light") -> Figure:
    """The map, with the fastest settings marked."""
    page = find(theme)
    with themed(page):
        return _draw(rates, page)


def _draw(rates: RateMap, theme: Theme) -> Figure:
    drawn = Figure(figsize=(6.4, 4.7), layout="constrained", facecolor=theme.paper)
    axes = drawn.add_subplot()
    axes.set_facecolor("none")
    digits = rates.digits.numpy()
    shown = np.ma.masked_invalid(digits)
    fastest = max(float(shown.min()) if shown.count() else 1.0, 0.1)
    norm = LogNorm(fastest, max(min(float(shown.max()) if shown.count() else 1.0, SLOWEST), 10 * fastest))
    # Drawn at the values' places along the axes, from 0 to 1: cells are of one size whatever the scale.
    u, v = (np.linspace(0, 1, len(axis.values)) for axis in (rates.x, rates.y))
    half = 0.5 / (len(u) - 1), 0.5 / (len(v) - 1)
    extent = (-half[0], 1 + half[0], -half[1], 1 + half[1])
    paint = colormaps[LOSSES].with_extremes(bad=theme.void)
    cells = axes.imshow(
        shown, origin="lower", aspect="auto", extent=extent, cmap=paint, norm=norm, interpolation="none"
    )  # fmt: skip
    signs = np.where(rates.rates.numpy() < 1, -1.0, 1.0)
    if (signs > 0).any() and (signs < 0).any():
        axes.contour(u, v, signs, levels=[0.0], colors=theme.paper, linewidths=3.4)
        axes.contour(u, v, signs, levels=[0.0], colors=theme.ink, linewidths=1.6)
    best = rates.best
    row, column = divmod(int(rates.rates.argmin()), len(u))
    axes.plot(
        [u[column]], [v[row]], marker="*", markersize=15, color=theme.paper, markeredgecolor=theme.ink, zorder=5
    )  # fmt: skip
    bar = drawn.colorbar(cells, ax=axes, extend="max", pad=0.02)
    bar.set_label("steps per decimal digit")
    bar.ax.minorticks_off()
    log_ticks(bar.ax.yaxis, most=6)
    bar.outline.set_visible(False)  # type: ignore[operator]
    _ticks(axes.xaxis, rates.x, half[0])
    _ticks(axes.yaxis, rates.y, half[1])
    axes.set_xlabel(rates.x.name)
    axes.set_ylabel(rates.y.name)
    axes.grid(visible=False)
    given = "".join(f", {name} {value}" for name, value in rates.settings.items())
    axes.set_title(clipped(f"{rates.optimizer} on {rates.landscape.name}{given}", 60))
    where = f"{rates.x.name} {short(best[rates.x.name], 3)}, {rates.y.name} {short(best[rates.y.name], 3)}"
    words = f"Star: {where}: {short(best['steps per digit'], 3)} steps per digit. Grey: diverges."
    drawn.supxlabel(words, x=0.01, ha="left", fontsize=SIZE - 1)
    return drawn


def _ticks(side: Any, axis: Axis, half: float) -> None:
    """Ticks at round values, wherever they lie between 0 and 1."""
    low, high = axis.values[0], axis.values[-1]
    spread = axis.range
    if isinstance(spread, Log):
        first, last = np.floor(np.log10(low)), np.ceil(np.log10(high))
        few = last - first < 3
        wanted = [m * 10.0**k for k in np.arange(first, last + 1) for m in ((1, 2, 5) if few else (1,))]
        places = [spread.where(value) for value in wanted]
    elif isinstance(spread, OneMinusLog):
        wanted = list(NEAR_ONE)
        places = [spread.where(value) for value in wanted]
    else:
        wanted = [float(value) for value in MaxNLocator(6).tick_values(low, high)]
        places = [(value - low) / (high - low) for value in wanted]
    kept = [(p, w) for p, w in zip(places, wanted, strict=True) if -half <= p <= 1 + half]
    names = {round(p, 9): short(round(w, 10)) for p, w in kept}
    side.set_major_locator(FixedLocator([p for p, _ in kept]))
    side.set_major_formatter(FuncFormatter(lambda p, _: names.get(round(p, 9), "")))
    side.set_minor_locator(NullLocator())
