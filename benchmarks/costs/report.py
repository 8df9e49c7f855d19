"""The table and the drawing of benchmarks/compare_cost.py."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from thalweg.lab import statistics

Setting = list[Any]
SIDES = ("ours", "sequential", "optuna")
POINTS = (  # side, mark, how it is called
    ("ours", "end", "ours"),
    ("sequential", "end", "sequential"),
    ("optuna", "equal horizons", "Optuna, search of as many horizons as ours (first round)"),
    ("optuna", "searched", "Optuna, its search"),
    ("optuna", "end", "Optuna, with the verdict's seeds"),
)
CLOSE = 0.25  # standard deviations between seeds by which ours may be worse


class Regrets:
    """Of settings, in standard deviations between seeds (pooled over what was recommended), smaller is better."""

    def __init__(self, of: Mapping[str, Any]):
        sign = 1 if of["mode"] == "min" else -1
        known = {key: [math.inf if v is None else sign * v for v in values] for key, values in of["fresh"].items()}
        worst = max(v for values in known.values() for v in values if v < math.inf)
        self.scores = {key: [min(v, worst) for v in values] for key, values in known.items()}
        ends = [json.dumps(told["marks"]["end"]["setting"]) for side in SIDES for told in of.get(side, [])]
        final = [self.scores[key] for key in dict.fromkeys(ends)]
        self.least, self.sd = min(map(statistics.mean, final)), statistics.pooled_sd(final)

    def __call__(self, setting: Setting) -> float:
        """Its mean behind the best one's."""
        return (statistics.mean(self.scores[json.dumps(setting)]) - self.least) / self.sd

    def __contains__(self, setting: Setting) -> bool:
        """Whether it has been trained on the fresh seeds."""
        return json.dumps(setting) in self.scores


def marked(of: Mapping[str, Any], side: str, mark: str, round: int) -> dict[str, Any] | None:
    """What a side had spent at a mark of a round, and what it would have recommended."""
    if side not in of or len(of[side]) <= round:
        return None
    told = of[side][round]
    if mark != "equal horizons":
        return told["marks"][mark]
    if round:  # what it would have recommended on the way is known of the first alone
        return None
    enough = of["ours"][round]["marks"]["searched"]["horizons"]
    reached = next(((cpu, horizons) for cpu, horizons in told["path"] if horizons >= enough), None)
    if reached is None:
        return None
    last = [entry for entry in told["recommended"] if entry["cpu"] <= reached[0]][-1]
    return {"cpu": reached[0], "horizons": reached[1], "setting": last["setting"]}


def report(found: Mapping[str, Any], folder: Path) -> None:
    """Write figures.md and figures.svg."""
    lines = [
        "# What a whole comparison costs",
        "",
        "Written by `python benchmarks/compare_cost.py`, which says what the sides are. CPU seconds of one process",
        "from its start, one thread; every round has other seeds. Ours / this: the median of the rounds' ratios.",
        "Regret: on 20 fresh seeds, in standard deviations between seeds, behind the best setting that any side",
        "recommended: the mean over the rounds, and each. Behind: the means' difference and its standard error.",
        "",
        ", ".join(f"{key} {value}" for key, value in found["machine"].items()),
        "",
        found.get("note", ""),
    ]
    whole = {name: of for name, of in found["workloads"].items() if "fresh" in of and "ours" in of}
    for name, of in whole.items():
        regrets = Regrets(of)
        lines += [
            "",
            f"## {name}: {of['setup']}",
            "",
            f"Stacking: {'; '.join(told['together'] for told in of['ours'])}.",
            "",
            f"The first verdict: {of['ours'][0]['verdict']}",
            "",
            "| side | full horizons | CPU s | ours / this | regret | ours behind | as good |",
            "|---|---|---|---|---|---|---|",
        ]
        lines += [row for side, mark, called in POINTS if (row := _row(of, regrets, side, mark, called))]
    (folder / "figures.md").write_text("\n".join(lines) + "\n")
    if whole:
        _draw(whole, folder / "figures.svg")


def _row(of: Mapping[str, Any], regrets: Regrets, side: str, mark: str, called: str) -> str:
    rounds = [marked(of, side, mark, round) for round in range(len(of.get(side, [])))]
    these = [this for this in rounds if this is not None and this["setting"] in regrets]
    if not these:
        return ""
    ours = [told["marks"]["end"] for told in of["ours"]]
    ratios = [mine["cpu"] / this["cpu"] for mine, this in zip(ours, rounds, strict=False) if this is not None]
    own = [regrets(end["setting"]) for end in ours]
    other = [regrets(this["setting"]) for this in these]
    behind = statistics.mean(own) - statistics.mean(other)
    error = math.hypot(*(statistics.sd(each) / len(each) ** 0.5 for each in (own, other))) if len(other) > 1 else None
    cells = [
        called,
        f"{statistics.mean([this['horizons'] for this in these]):.1f}",
        ", ".join(f"{this['cpu']:.0f}" for this in these),
        f"{median(ratios):.2f}",
        f"{statistics.mean(other):.2f} ({', '.join(f'{each:.2f}' for each in other)})",
        "" if side == "ours" else f"{behind:+.2f}" if error is None else f"{behind:+.2f} ± {error:.2f}",
        "" if side == "ours" else "yes" if behind <= CLOSE else "no",
    ]
    return f"| {' | '.join(cells)} |"


def _draw(whole: Mapping[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    with pyplot.rc_context({"svg.hashsalt": "thalweg", "svg.fonttype": "none", "font.size": 9}):
        figure, panels = pyplot.subplots(1, len(whole), figsize=(4.2 * len(whole), 3.2), squeeze=False)
        for axes, (name, of) in zip(panels[0], whole.items(), strict=True):
            regrets = Regrets(of)
            for side in SIDES:
                if side not in of:
                    continue
                first, ends = of[side][0], [told["marks"]["end"] for told in of[side]]
                steps = [
                    (entry["cpu"], regrets(entry["setting"]))
                    for entry in first["recommended"]
                    if entry["setting"] in regrets
                ]
                steps.append((ends[0]["cpu"], regrets(ends[0]["setting"])))
                axes.step(*zip(*steps, strict=True), where="post", label=side)
                colour = axes.lines[-1].get_color()
                axes.plot([end["cpu"] for end in ends], [regrets(end["setting"]) for end in ends], "o", color=colour)
            axes.set(title=name, xlabel="CPU seconds", ylabel="regret, sd between seeds", xscale="log")
            axes.legend(frameon=False)
        figure.tight_layout()
        figure.savefig(path, metadata={"Date": None})
        pyplot.close(figure)
