"""A race as a picture: the paths on their landscape, the loss, the effective learning rates, the lrs tried.

`scene` draws everything and says which lines grow with the steps, so that a moving picture needs no drawing of
its own; `picture` is the scene at its end.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from thalweg.pictures.strip import strips
from thalweg.pictures.style import (
    SIZE,
    WIDTH,
    End,
    Look,
    clipped,
    finite,
    label_ends,
    log_ticks,
    looks,
    short,
    wants_log,
)
from thalweg.pictures.theme import Theme, find, themed

if TYPE_CHECKING:
    from thalweg.racing.race import Race
    from thalweg.racing.runs import Run

TALL = 4.3  # inches: the map, and the panels beside it
FAR = 100.0  # widths of the picture: a path is drawn no further, it has long left
DEEPEST = 1e-16  # of the loss at the start: below is rounding
LEVELS = 13
LINE = 112  # characters across the page
COLUMNS = 4  # of the small pictures of singular values


@dataclass
class Scene:
    """A drawn race.

    Attributes:
        growing: the lines that grow, each with rows of (evaluations, x, y). moving: the marks that show where a
            walk is now, likewise. last: what belongs to the end.
    """

    figure: Figure
    growing: list[tuple[Line2D, np.ndarray]] = field(default_factory=list)
    moving: list[tuple[Line2D, np.ndarray]] = field(default_factory=list)
    last: list[Artist] = field(default_factory=list)

    def grow(self, axes: Axes, run: Run, x: Sequence[float], y: Sequence[float], look: Look, **style: Any) -> None:
        """Draw a line that grows from left to right, or along a path."""
        every = max(1, len(x) // 6)
        line = {"color": look.colour, "linestyle": look.dash, "marker": look.marker, "markevery": every, **style}
        (drawn,) = axes.plot(x, y, **{"markersize": 4.0, "linewidth": 1.3, **line})
        self.growing.append((drawn, np.array([run.trajectory["evaluations"], x, y], dtype=float)))

    def move(self, axes: Axes, run: Run, x: Sequence[float], y: Sequence[float], look: Look, ink: str) -> None:
        """Draw a mark where a walk is now."""
        known = [i for i in range(len(x)) if math.isfinite(x[i]) and math.isfinite(y[i])]
        end = known[-1:]
        mark: dict[str, Any] = {"markersize": 8.0, "markeredgecolor": ink, "markeredgewidth": 0.8, "zorder": 5}
        (drawn,) = axes.plot([x[i] for i in end], [y[i] for i in end], color=look.colour, marker=look.marker, **mark)
        self.moving.append((drawn, np.array([run.trajectory["evaluations"], x, y], dtype=float)))


def picture(race: Race, theme: str = "light") -> Figure:
    """The race at its end."""
    return scene(race, theme).figure


def scene(race: Race, theme: str = "light") -> Scene:
    """The race, drawn."""
    colours = find(theme)
    with themed(colours):
        if race.landscape.is_matrix:
            return _matrix(race, colours)
        return _curve(race, colours) if len(race.landscape.coordinates) == 1 else _map(race, colours)


# ---- three kinds of landscape


def _map(race: Race, theme: Theme) -> Scene:
    seen = looks(run.name for run in race.runs)
    made, grid = _page(race, theme, [TALL])
    upper = grid[0].subgridspec(3, 2, width_ratios=[1.5, 1], hspace=0.06)
    place = _axes(made, upper[:, 0])
    loss = _axes(made, upper[0, 1])
    rates = [_axes(made, upper[i + 1, 1], sharex=loss) for i in range(2)]
    _ground(place, race, theme)
    for run in race.runs:
        x, y = (_drawable(run.trajectory[name], race.window[i]) for i, name in enumerate(race.landscape.coordinates))
        # The longest paths lie behind: they would hide the others.
        made.grow(place, run, x, y, seen[run.name], zorder=2 + 1 / (1 + _length(x, y)), linewidth=1.2)
        made.move(place, run, x, y, seen[run.name], theme.ink)
    _exits(place, race, seen, made)
    _losses(loss, race, seen, made)
    for axes, name in zip(rates, race.landscape.coordinates, strict=True):
        _rates(axes, race, f"rate {name}", f"effective lr of {name}", seen, made)
    _strip(race, theme, seen, made, grid)
    before = len(place.lines) + len(place.texts)
    ends = [End(run.name, *_end(race, run)) for run in race.runs]
    label_ends(place, ends, seen, tall=0.8 * TALL)
    made.last += [*place.lines, *place.texts][before:]
    return made


def _curve(race: Race, theme: Theme) -> Scene:
    """The ball on the curve, and below it where each ball was, step by step downwards."""
    seen = looks(run.name for run in race.runs)
    name = race.landscape.coordinates[0]
    made, grid = _page(race, theme, [TALL])
    upper = grid[0].subgridspec(2, 2, width_ratios=[1.5, 1], hspace=0.06)
    curve = _axes(made, upper[0, 0])
    path = _axes(made, upper[1, 0], sharex=curve)
    loss = _axes(made, upper[0, 1])
    rate = _axes(made, upper[1, 1], sharex=loss)
    (side,), heights = race.heights
    curve.plot(side, heights, color=theme.ink, linewidth=1.3)
    curve.set_title(_title(race))
    curve.set_ylabel("loss")
    curve.tick_params(labelbottom=False)
    low, high = float(heights.min()), float(heights.max())
    curve.set_ylim(low - 0.08 * (high - low), high + 0.1 * (high - low))
    curve.set_xlim(*race.window[0])
    for ends in race.landscape.minima:
        curve.plot(ends, [_height(race, ends[0])], marker="*", color=theme.ink, markersize=9, zorder=6)
    for run in race.runs:
        x = _drawable(run.trajectory[name], race.window[0])
        made.grow(path, run, x, _along(race, run), seen[run.name], markersize=3.5, linewidth=0.9)
        made.move(curve, run, x, [_height(race, each) for each in x], seen[run.name], theme.ink)
    path.set_ylim(race.steps * 1.02, -0.02 * race.steps)
    path.set_ylabel(race.along)
    path.set_xlabel(name)
    for ends in race.landscape.bounds:
        for axes in (curve, path):
            for end, outer in zip(ends, race.window[0], strict=True):
                axes.axvline(end, color=theme.ink, linewidth=0.9)
                axes.axvspan(end, outer, color=theme.ink, alpha=0.1, linewidth=0)
        path.set_xlabel(f"{name}   (after every step projected onto [{ends[0]:g}, {ends[1]:g}])")
    _losses(loss, race, seen, made)
    _rates(rate, race, f"rate {name}", f"effective lr of {name}", seen, made)
    _strip(race, theme, seen, made, grid)
    return made


def _matrix(race: Race, theme: Theme) -> Scene:
    """The loss, the effective lr, and the singular values of each walk."""
    seen = looks(run.name for run in race.runs)
    rows = math.ceil(len(race.runs) / COLUMNS)
    made, grid = _page(race, theme, [2.3, 1.55 * rows])
    upper = grid[0].subgridspec(1, 2, width_ratios=[1.1, 1])
    loss, rate = _axes(made, upper[0, 0]), _axes(made, upper[0, 1])
    _losses(loss, race, seen, made, title=_title(race, 44))
    _rates(rate, race, "rate", "effective lr (median over the entries)", seen, made)
    columns = min(COLUMNS, len(race.runs))
    small = grid[1].subgridspec(rows, columns, wspace=0.04)
    first: Axes | None = None
    values = [each for run in race.runs for row in run.trajectory["singular values"] for each in row]
    top = max([1.15 * x for x in race.landscape.spectrum] or [min(1.05 * max(finite(values)), 60.0)])
    for i, run in enumerate(race.runs):
        axes = _axes(made, small[i // columns, i % columns], **({"sharey": first} if first else {}))
        first = first or axes
        axes.set_title(clipped(run.name))
        for known in race.landscape.spectrum:
            axes.axhline(known, color=theme.ink, linewidth=0.8, linestyle=(0, (2, 2)), alpha=0.7)
        for each in zip(*run.trajectory["singular values"], strict=True):
            made.grow(axes, run, _along(race, run), each, seen[run.name], marker="", linestyle="-", linewidth=1.2)
        axes.set_ylim(0, top)
        axes.set_xlim(0, race.steps)
        axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
        axes.tick_params(labelleft=i % columns == 0)
        if i % columns == 0:
            axes.set_ylabel("singular values")
    _strip(race, theme, seen, made, grid)
    return made


# ---- what they have in common


def _page(race: Race, theme: Theme, heights: list[float]) -> tuple[Scene, Any]:
    below = 0.62 + 0.205 * len(race.runs)
    drawn = Figure(figsize=(WIDTH, sum(heights) + below + 0.2), layout="constrained", facecolor=theme.paper)
    return Scene(drawn), drawn.add_gridspec(len(heights) + 1, 1, height_ratios=[*heights, below])


def _axes(made: Scene, where: Any, **shared: Any) -> Axes:
    axes = made.figure.add_subplot(where, **shared)
    axes.set_facecolor("none")
    return axes


def _title(race: Race, most: int = 54) -> str:
    name, formula = race.landscape.name, race.landscape.formula
    return clipped(formula if name.startswith("lambda") else f"{name}:  {formula}", most)


def _ground(axes: Axes, race: Race, theme: Theme) -> None:
    """The contours: at quantiles of the heights, so that every landscape shows its shape."""
    (x, y), heights = race.heights
    z = np.where(np.isfinite(heights.numpy()), heights.numpy(), np.nan)
    known = z[np.isfinite(z)]
    levels = np.unique(np.quantile(known, np.linspace(0, 1, LEVELS + 1) ** 1.5)) if len(known) else known
    if len(levels) > 2:
        shades = LinearSegmentedColormap.from_list("ground", [theme.low, theme.high])
        colours = [shades(i / (len(levels) - 2)) for i in range(len(levels) - 1)]
        axes.contourf(x, y, z, levels=levels, colors=colours, antialiased=True)
        axes.contour(x, y, z, levels=levels[1:-1], colors=theme.ink, linewidths=0.5, alpha=0.3, linestyles="solid")
    wide, tall = (high - low for low, high in race.window)
    axes.set_aspect("equal" if 0.5 <= wide / tall <= 2 else "auto")
    axes.set_xlim(*race.window[0])
    axes.set_ylim(*race.window[1])
    axes.set_title(_title(race))
    axes.set_xlabel(race.landscape.coordinates[0])
    axes.set_ylabel(race.landscape.coordinates[1])
    axes.grid(visible=False)
    start = race.landscape.point().tolist()
    axes.plot(*start, marker="o", markersize=9, markeredgecolor=theme.ink, markeredgewidth=1.4, fillstyle="none")
    for minimum in race.landscape.minima:
        axes.plot(*minimum, marker="*", color=theme.ink, markersize=9, linestyle="none", zorder=6)


def _exits(axes: Axes, race: Race, seen: Mapping[str, Look], made: Scene) -> None:
    """A cross where a path that does not come back leaves the picture."""
    for run in race.runs:
        where = _exit(race, run)
        if where is not None:
            (cross,) = axes.plot(*where, marker="X", markersize=9, color=seen[run.name].colour, clip_on=False, zorder=6)
            made.last.append(cross)


def _exit(race: Race, run: Run) -> tuple[float, float] | None:
    points = np.array([run.trajectory[name] for name in race.landscape.coordinates], dtype=float).T
    low, high = np.array(race.window).T
    inside = ((points >= low) & (points <= high)).all(1)
    if inside[-1] or not inside.any():
        return None
    last = int(np.flatnonzero(inside)[-1])
    a, b = points[last], points[last + 1]
    if not np.isfinite(b).all():
        return tuple(a)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.where(b > high, (high - a) / (b - a), np.where(b < low, (low - a) / (b - a), 1.0))
    return tuple(a + float(shares.min()) * (b - a))


def _end(race: Race, run: Run) -> tuple[float, float]:
    left = _exit(race, run)
    if left is not None:
        return left
    x, y = (finite(run.trajectory[name])[-1] for name in race.landscape.coordinates)
    return x, y


def _drawable(values: Sequence[float], window: tuple[float, float]) -> list[float]:
    """The values up to where they are too far away, or no numbers, to be drawn."""
    low, high = window
    reach = FAR * (high - low)
    far = next((i for i, x in enumerate(values) if not (low - reach <= x <= high + reach)), len(values))
    return [*values[:far], *[math.nan] * (len(values) - far)]


def _length(x: Sequence[float], y: Sequence[float]) -> float:
    return float(np.nansum(np.hypot(np.diff(x), np.diff(y))))


def _height(race: Race, x: float) -> float:
    import torch

    return float(race.landscape.value(torch.tensor([x], dtype=torch.float64))) if math.isfinite(x) else math.nan


def _losses(axes: Axes, race: Race, seen: Mapping[str, Look], made: Scene, title: str = "") -> None:
    lowest = race.landscape.lowest
    curves = {run.name: [x - (lowest or 0.0) for x in run.trajectory["loss"]] for run in race.runs}
    begin = next(iter(curves.values()))[0]
    every = finite(x for curve in curves.values() for x in curve)
    logarithmic = (lowest is not None and begin > 0) or wants_log(every)
    if logarithmic:
        deepest = DEEPEST * begin
        axes.set_yscale("log")
        low = max(min((x for x in every if x > 0), default=deepest), deepest)
        axes.set_ylim(low / 2, min(max(every), 1e3 * begin) * 2)
        log_ticks(axes.yaxis, most=5)
    else:
        low, high = min(every), max(x for x in every if x <= begin + (begin - min(every)) + 1e-12)
        axes.set_ylim(low - 0.06 * (high - low) - 1e-12, high + 0.06 * (high - low) + 1e-12)
    for run in race.runs:
        x = _along(race, run)
        y = [v if math.isfinite(v) and (v > 0 or not logarithmic) else math.nan for v in curves[run.name]]
        made.grow(axes, run, x, y, seen[run.name], markersize=3.5, linewidth=1.2)
    axes.set_title(title or ("loss above the minimum" if lowest is not None else "loss"))
    if title:
        axes.set_ylabel("loss above the minimum" if lowest is not None else "loss")
    _steps(axes, race)


def _rates(axes: Axes, race: Race, quantity: str, title: str, seen: Mapping[str, Look], made: Scene) -> None:
    every = []
    for run in race.runs:
        if quantity not in run.trajectory.values:  # a minimizer
            continue
        y = [v if v is not None and math.isfinite(v) and v > 0 else math.nan for v in run.trajectory[quantity]]
        every += finite(y)
        made.grow(axes, run, _along(race, run), y, seen[run.name], markersize=3.5, linewidth=1.2)
    axes.set_title(title)
    if every:
        axes.set_yscale("log")
        low, high = np.quantile(every, [0.01, 0.99])
        room = max((high / low) ** 0.08, 1.5)
        axes.set_ylim(low / room, high * room)
        log_ticks(axes.yaxis, most=5)
    _steps(axes, race)


def _along(race: Race, run: Run) -> list[int]:
    return run.trajectory.steps if race.along == "step" else run.trajectory["evaluations"]


def _steps(axes: Axes, race: Race) -> None:
    axes.set_xlim(0, max(_along(race, run)[-1] for run in race.runs))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    last = axes.get_subplotspec()
    if last is None or last.is_last_row():  # those above share its axis
        axes.set_xlabel(race.along)
    else:
        axes.tick_params(labelbottom=False)


def _strip(race: Race, theme: Theme, seen: Mapping[str, Look], made: Scene, grid: Any) -> None:
    axes = _axes(made, grid[-1])
    lowest = race.landscape.lowest
    rows = {
        run.name: [(lr, None if loss is None else loss - (lowest or 0.0)) for lr, loss in run.strip]
        for run in race.runs
    }
    labels = {
        run.name: clipped(run.name, 22) + ("" if run.lr is None else f"   lr {short(run.lr, 3)}") for run in race.runs
    }
    begin = race.runs[0].trajectory["loss"][0] - (lowest or 0.0)
    strips(axes, rows, labels, {run.name: run.lr for run in race.runs}, seen, theme, begin)
    made.figure.supxlabel(textwrap.fill(race.budget, LINE), x=0.01, ha="left", fontsize=SIZE - 1)
