"""Final quality: every seed of every confirmed optimizer, the mean and its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from thalweg.pictures.style import INK, SIZE, Look, clipped, figure, finite, short, styled


@dataclass(frozen=True)
class Quality:
    """What fresh seeds say of one optimizer; a seed without a value has diverged."""

    name: str
    values: Sequence[float | None]
    mean: float
    interval: tuple[float, float] | None = None


@styled
def quality(shown: Sequence[Quality], seen: Mapping[str, Look], *, metric: str, mode: str) -> Figure:
    """One row per optimizer, the best on top: its seeds as points, its mean and interval as a bar."""
    drawn, (axes,) = figure(0.8 + 0.42 * len(shown))
    draw_quality(axes, shown, seen)
    for row, each in enumerate(shown):
        words = short(each.mean) + (
            f"  [{short(each.interval[0])}, {short(each.interval[1])}]" if each.interval else ""
        )
        axes.text(1.02, row, words, transform=axes.get_yaxis_transform(), va="center")
    axes.set_xlabel(f"{clipped(metric, 40)}   ({'more' if mode == 'max' else 'less'} is better)")
    return drawn


def draw_quality(axes: Axes, shown: Sequence[Quality], seen: Mapping[str, Look]) -> None:
    """The rows on axes that are there: the seeds that diverged are counted beside the others."""
    for row, each in enumerate(shown):
        look = seen[each.name]
        if each.interval:
            axes.plot(each.interval, [row, row], color=look.colour, linewidth=2.4, solid_capstyle="butt")
        axes.plot([each.mean], [row], color=look.colour, marker=look.marker, markersize=8, markeredgecolor=INK)
        known = finite(each.values)
        axes.plot(known, [row + 0.24] * len(known), color=look.colour, marker="|", linestyle="none", markersize=6)
        if failed := len(each.values) - len(known):
            axes.annotate(
                f"{failed} diverged", (each.mean, row), xytext=(0, 7), textcoords="offset points", ha="center",
                fontsize=SIZE - 2,
            )  # fmt: skip
    axes.set_yticks(range(len(shown)), [clipped(each.name) for each in shown])
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.locator_params(axis="x", nbins=6)
