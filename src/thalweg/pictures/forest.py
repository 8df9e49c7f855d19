"""The forest plot: how far the leader is from each rival, with intervals, and what counts as a tie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from thalweg.pictures.style import INK, SIZE, Look, clipped, figure, short, styled


@dataclass(frozen=True)
class Difference:
    """Leader minus rival in the metric's units, with its interval."""

    rival: str
    value: float
    low: float
    high: float
    verdict: str = ""


@styled
def forest(
    differences: Sequence[Difference],
    seen: Mapping[str, Look],
    *,
    leader: str,
    metric: str,
    mode: str,
    margin: float,
) -> Figure:
    """One line per rival: the difference, its interval, and the band from -margin to +margin."""
    drawn, (axes,) = figure(1.15 + 0.36 * len(differences))
    axes.axvspan(-margin, margin, color=INK, alpha=0.1, linewidth=0, label=f"tie: within ±{short(margin, 2)}")
    axes.axvline(0, color=INK, linewidth=0.9)
    for row, each in enumerate(differences):
        look = seen[each.rival]
        axes.plot([each.low, each.high], [row, row], color=look.colour, solid_capstyle="butt", linewidth=2.2)
        axes.plot([each.value], [row], color=look.colour, marker=look.marker, markersize=8)
        words = f"{short(each.value, 3)}  [{short(each.low, 3)}, {short(each.high, 3)}]  {each.verdict}"
        axes.text(1.02, row, words, transform=axes.get_yaxis_transform(), va="center")
    axes.set_yticks(range(len(differences)), [f"{clipped(leader)} − {clipped(each.rival)}" for each in differences])
    axes.set_ylim(len(differences) - 0.4, -0.6)  # the first one on top
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    better = f"{clipped(leader)} better →" if mode == "max" else f"← {clipped(leader)} better"
    axes.set_xlabel(f"difference in {clipped(metric, 40)}   ({better})")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.1, fontsize=SIZE - 0.5)
    # The band shall not dwarf the intervals, nor zero lie outside.
    reach = max([abs(end) for each in differences for end in (each.low, each.high)] + [1.3 * margin]) * 1.08
    low = min([each.low for each in differences] + [-1.3 * margin])
    high = max([each.high for each in differences] + [1.3 * margin])
    axes.set_xlim(max(low - 0.05 * reach, -reach), min(high + 0.05 * reach, reach))
    axes.locator_params(axis="x", nbins=7)
    return drawn
