"""How much the learning rate matters, one row per optimizer: the loss reached at every lr that was tried."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.transforms import blended_transform_factory

from thalweg.pictures.style import SIZE, Look, finite, log_ticks
from thalweg.pictures.theme import LOSSES, Theme

SHOWN = 1e-8  # of the loss at the start: below, a strip is no brighter


def strips(
    axes: Axes,
    rows: Mapping[str, Sequence[tuple[float, float | None]]],
    labels: Mapping[str, str],
    chosen: Mapping[str, float | None],
    seen: Mapping[str, Look],
    theme: Theme,
    begin: float,
) -> None:
    """A row of cells per optimizer: bright where the loss is low, grey where the run diverged.

    Args:
        rows: by name, (lr, loss reached above the minimum) from the lowest lr on; None where it diverged.
        labels: what stands beside each row. chosen: the lr that was chosen, marked; None
            where there is none, and the row is empty.
        begin: the loss at the start: the darkest colour.
    """
    losses = finite(loss for row in rows.values() for _, loss in row)
    norm = _scale(losses, begin)
    paint = colormaps[LOSSES]
    beside = blended_transform_factory(axes.transAxes, axes.transData)
    for at, (name, row) in enumerate(rows.items()):
        lrs = [lr for lr, _ in row]
        edges = _edges(lrs) if lrs else [1.0]
        for (_, loss), (left, right) in zip(row, itertools.pairwise(edges), strict=True):
            known = finite([loss])
            colour = paint(norm(np.clip(known, norm.vmin, norm.vmax))[0]) if known else theme.void
            wide = 1.03 * right - left  # a hair over the next: no seams
            axes.barh(at, wide, left=left, height=0.78, color=colour, linewidth=0)
        look, lr = seen[name], chosen[name]
        if not row:
            axes.text(0.01, at, "no lr to choose", transform=beside, va="center", fontsize=SIZE - 1, alpha=0.7)
        if lr is not None:
            axes.plot(
                [lr], [at], marker=look.marker, markersize=7.5, color=look.colour,
                markeredgecolor=theme.paper, markeredgewidth=1.2, zorder=5,
            )  # fmt: skip
        axes.plot(
            [-0.055, -0.032, -0.009], [at] * 3, transform=beside, clip_on=False, color=look.colour,
            linestyle=look.dash, marker=look.marker, markevery=[1], markersize=4.5, linewidth=1.5,
        )  # fmt: skip
    axes.set_yticks(range(len(rows)), [labels[name] for name in rows])
    axes.tick_params(axis="y", length=0, pad=40)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xscale("log")
    every = [lr for row in rows.values() for lr, _ in row] or [1e-3, 1.0]
    axes.set_xlim(min(every) / 1.4, max(every) * 1.4)
    log_ticks(axes.xaxis, most=11)
    axes.grid(visible=False)
    axes.spines["left"].set_visible(False)
    axes.set_title("loss reached by lr:  bright is low, grey diverged, the mark is the lr of the race", fontsize=SIZE)


def _scale(losses: Sequence[float], begin: float) -> Normalize:
    low, high = min(losses, default=0.0), max(begin, *losses, 0.0) if not begin > 0 else begin
    positive = [loss for loss in losses if loss > 0]
    if begin > 0 and positive and min(losses) >= 0:
        return LogNorm(max(min(min(positive), 0.1 * begin), SHOWN * begin), begin)
    return Normalize(low, high if high > low else low + 1)


def _edges(lrs: Sequence[float]) -> list[float]:
    """Between every two neighbours, and as far beyond the first and the last."""
    logs = [math.log(lr) for lr in lrs]
    middle = [(a + b) / 2 for a, b in itertools.pairwise(logs)]
    first = 2 * logs[0] - middle[0] if middle else logs[0] - 0.2
    last = 2 * logs[-1] - middle[-1] if middle else logs[-1] + 0.2
    return [math.exp(x) for x in (first, *middle, last)]
