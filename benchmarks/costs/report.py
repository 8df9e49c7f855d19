"""The table and the drawing of benchmarks/compare_cost.py."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from thalweg.lab import statistics

Setting = list[Any]
POINTS = (  # side, mark, how it is called
    ("ours", "end", "ours"),
    ("sequential", "end", "sequential"),
    ("optuna", "equal horizons", "Optuna, search of as many horizons as ours"),
    ("optuna", "searched", "Optuna, its search"),
    ("optuna", "end", "Optuna, with the verdict's seeds"),
)
CLOSE = 0.25  # standard deviations between seeds by which ours may be worse


class Regrets:
    """Of settings, in standard deviations between seeds, smaller is better."""

    def __init__(self, fresh: Mapping[str, list[float | None]], mode: str):
        sign = 1 if mode == "min" else -1
        known = {key: [math.inf if v is None else sign * v for v in values] for key, values in fresh.items()}
        worst = max(v for values in known.values() for v in values if v < math.inf)
        self.scores = {key: [min(v, worst) for v in values] for key, values in known.items()}
        best = min(self.scores.values(), key=statistics.mean)
        self.least, self.sd = statistics.mean(best), statistics.sd(best)

    def __call__(self, setting: Setting) -> float:
        """Its mean behind the best one's."""
        return (statistics.mean(self.scores[json.dumps(setting)]) - self.least) / self.sd

    def behind(self, setting: Setting, other: Setting) -> tuple[float, float, float]:
        """How far the first is behind the second on the same seeds: mean, and its 95 % interval."""
        pairs = zip(self.scores[json.dumps(setting)], self.scores[json.dumps(other)], strict=True)
        differences = [(a - b) / self.sd for a, b in pairs]
        return statistics.mean(differences), *statistics.t_interval(differences, 0.05)


def median_round(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """The one with the median CPU time."""
    return sorted(rounds, key=lambda one: one["marks"]["end"]["cpu"])[(len(rounds) - 1) // 2]


def marked(of: Mapping[str, Any], side: str, mark: str) -> dict[str, Any] | None:
    """What a side had spent at a mark, and what it would have recommended."""
    if side not in of:
        return None
    if mark != "equal horizons":
        return of[side]["marks"][mark]
    enough = of["ours"]["marks"]["searched"]["horizons"]
    reached = next(((cpu, horizons) for cpu, horizons in of[side]["path"] if horizons >= enough), None)
    if reached is None:
        return None
    last = [entry for entry in of[side]["recommended"] if entry["cpu"] <= reached[0]][-1]
    return {"cpu": reached[0], "horizons": reached[1], "setting": last["setting"]}


def report(found: Mapping[str, Any], folder: Path) -> None:
    """Write figures.md and figures.svg."""
    lines = [
        "# What a whole comparison costs",
        "",
        "Written by `python benchmarks/compare_cost.py`, which says what the sides are. CPU seconds of one process",
        "from its start, one thread. Regret: on 20 fresh seeds, in standard deviations between seeds, behind the best",
        "setting that any side recommended. Behind: ours minus this side's on the same seeds, with its 95 % interval.",
        "",
        ", ".join(f"{key} {value}" for key, value in found["machine"].items()),
        "",
        found.get("note", ""),
    ]
    whole = {
        name: {key: median_round(value) if isinstance(value, list) else value for key, value in of.items()}
        for name, of in found["workloads"].items()
        if "fresh" in of and "ours" in of
    }
    for name, of in whole.items():
        regrets = Regrets(of["fresh"], of["mode"])
        ours = of["ours"]["marks"]["end"]
        rounds = found["workloads"][name]
        every = "; ".join(
            f"{side} {', '.join(str(round(one['marks']['end']['cpu'])) for one in rounds[side])}"
            for side in ("ours", "sequential", "optuna")
            if side in rounds
        )
        lines += [
            "",
            f"## {name}: {of['setup']}",
            "",
            f"CPU seconds of all rounds: {every}.",
            "",
            f"Stacking: {of['ours']['together']}. Verdict: {of['ours']['verdict']}",
            "",
            "| side | full horizons | CPU s | ours / this | regret | ours behind | as good |",
            "|---|---|---|---|---|---|---|",
        ]
        for side, mark, called in POINTS:
            spent = marked(of, side, mark)
            if spent is None:
                continue
            behind, low, high = regrets.behind(ours["setting"], spent["setting"])
            ratio = ours["cpu"] / spent["cpu"]
            good = "yes" if behind <= CLOSE else "no"
            lines.append(
                f"| {called} | {spent['horizons']:.1f} | {spent['cpu']:.1f} | {ratio:.2f} | "
                f"{regrets(spent['setting']):.2f} | {behind:+.2f} [{low:+.2f}, {high:+.2f}] | {good} |"
            )
    (folder / "figures.md").write_text("\n".join(lines) + "\n")
    if whole:
        _draw(whole, folder / "figures.svg")


def _draw(whole: Mapping[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    with pyplot.rc_context({"svg.hashsalt": "thalweg", "svg.fonttype": "none", "font.size": 9}):
        figure, panels = pyplot.subplots(1, len(whole), figsize=(4.2 * len(whole), 3.2), squeeze=False)
        for axes, (name, of) in zip(panels[0], whole.items(), strict=True):
            regrets = Regrets(of["fresh"], of["mode"])
            for side in ("ours", "sequential", "optuna"):
                if side not in of:
                    continue
                steps = [(entry["cpu"], regrets(entry["setting"])) for entry in of[side]["recommended"]]
                steps.append((of[side]["marks"]["end"]["cpu"], steps[-1][1]))
                axes.step(*zip(*steps, strict=True), where="post", label=side)
                axes.plot(*steps[-1], "o", color=axes.lines[-1].get_color())
            axes.set(title=name, xlabel="CPU seconds", ylabel="regret, sd between seeds", xscale="log")
            axes.legend(frameon=False)
        figure.tight_layout()
        figure.savefig(path, metadata={"Date": None})
        pyplot.close(figure)
