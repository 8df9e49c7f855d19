"""The pictures of a report, each made from the data alone, with the sentence that stands beneath it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from thalweg.lab.report.data import SEARCHED, Data, part, runs, seen_as
from thalweg.lab.report.tables import rows
from thalweg.pictures.cost import cost
from thalweg.pictures.curves import learning_curves, tuning_curves
from thalweg.pictures.forest import Difference, forest
from thalweg.pictures.quality import Quality, quality
from thalweg.pictures.sensitivity import Search, Trial, sensitivity, window
from thalweg.pictures.slices import Slice, slices
from thalweg.pictures.style import short, svg


@dataclass(frozen=True)
class Picture:
    """A drawing and the sentence beneath it."""

    svg: str
    caption: str


def pictures(data: Data) -> dict[str, Picture]:
    """Every picture that the data allow, by the name of its section."""
    makers = {
        "quality": _quality,
        "differences": _differences,
        "curves": _curves,
        "seconds": _seconds,
        "lr": _sensitivity,
        "slices": _slices,
        "tuning": _tuning,
        "cost": _cost,
    }
    made = {name: maker(data, f"{name}-picture") for name, maker in makers.items()}
    return {name: picture for name, picture in made.items() if picture}


def qualities(data: Data) -> list[Quality]:
    """The confirmed optimizers, best first."""
    return [
        Quality(
            row.name, known["values"], known["mean"], None if known["low"] is None else (known["low"], known["high"])
        )
        for row in rows(data)
        if (known := row.confirmed)
    ]


def _quality(data: Data, name: str) -> Picture | None:
    shown = qualities(data)
    if not shown:
        return None
    task = data["task"]
    drawn = quality(shown, seen_as(data), metric=task["metric"], mode=task["mode"])
    caption = (
        "The mean over the fresh seeds with its 95 % interval; the small strokes are the seeds. Intervals of single "
        "optimizers may overlap although their paired difference is clear: that is the next picture."
    )
    return Picture(svg(drawn, name=name, title=f"{task['metric']} on fresh seeds", description=caption), caption)


def _differences(data: Data, name: str) -> Picture | None:
    decision = part(data, "decision")
    against = [each for each in decision.get("comparisons") or [] if each.get("low") is not None]
    if not against:
        return None
    shown = [Difference(c["rival"], c["difference"], c["low"], c["high"], c["verdict"]) for c in against]
    task, leader = data["task"], decision["leader"]
    drawn = forest(
        shown,
        seen_as(data),
        leader=leader,
        metric=task["metric"],
        mode=task["mode"],
        margin=decision["margin"],
    )
    said = "; ".join(f"{d.rival}: {short(d.value)}, from {short(d.low)} to {short(d.high)}" for d in shown)
    caption = (
        f"Each line is the interval for {task['metric']} of {leader} minus that of a rival, over paired "
        f"seeds, all of them holding together at {100 * (1 - decision['alpha']):g} %: one clear of 0 is a difference, "
        "one inside the grey band a practical tie, any other leaves it open."
    )
    return Picture(svg(drawn, name=name, title=f"{leader} against its rivals", description=said), caption)


def curves_shown(data: Data) -> tuple[list[Data], str]:
    """The runs whose curves are drawn, and what a line is then."""
    shown, sentence = runs(data, "confirmation"), "the median over the fresh seeds, the band its quartiles"
    if not shown:
        shown = _best_searches(data)
        sentence = "the best run of each search: one seed, so it proves nothing yet"
    return [run for run in shown if run.get("curve")], sentence


def _curves(data: Data, name: str) -> Picture | None:
    shown, sentence = curves_shown(data)
    if not shown:
        return None
    metric, mode = data["task"]["metric"], data["task"]["mode"]
    loss = "training loss" if metric != "training loss" else "loss"
    panels = {metric: by_optimizer(shown, "metric"), loss: by_optimizer(shown, "loss")}
    drawn = learning_curves(panels, seen_as(data), {metric: mode, loss: "min"})
    caption = (
        f"Left {metric}, right the training loss, at every measured step; each line is {sentence}. "
        "The vertical axes leave out what only the first quarter of the steps reaches."
    )
    return Picture(svg(drawn, name=name, title="Learning curves", description=caption), caption)


def _seconds(data: Data, name: str) -> Picture | None:
    known = {n: o["milliseconds_per_step"] for n, o in part(data, "optimizers").items()}
    each = {n: milliseconds / 1000 for n, milliseconds in known.items() if milliseconds}
    shown = [run for run in curves_shown(data)[0] if run["optimizer"] in each]
    if not shown:
        return None
    metric, mode = data["task"]["metric"], data["task"]["mode"]
    drawn = learning_curves(
        {metric: by_optimizer(shown, "metric", each)}, seen_as(data), {metric: mode}, "seconds of training"
    )
    caption = (
        "The same curves against time: steps multiplied by what a step of each optimizer took when it ran alone, "
        "without the time of evaluation."
    )
    if part(data, "budget").get("equal") != "seconds":
        caption += " The budget was equal in steps, so a dearer step ends further to the right."
    return Picture(svg(drawn, name=name, title=f"{metric} against seconds", description=caption), caption)


def by_optimizer(
    runs: Sequence[Data], key: str, each: Mapping[str, float] | None = None
) -> dict[str, list[list[tuple[float, float | None]]]]:
    """The curves of each optimizer, against steps or against what `each` says that a step takes."""
    grouped: dict[str, list[list[tuple[float, float | None]]]] = {}
    for run in runs:
        step = each[run["optimizer"]] if each else 1
        curve = [(point["step"] * step, point.get(key)) for point in run["curve"]]
        grouped.setdefault(run["optimizer"], []).append(curve)
    return grouped


def _best_searches(data: Data) -> list[Data]:
    """The best finished run of the search of each optimizer."""
    sign = 1 if part(data, "task").get("mode") == "min" else -1
    best: dict[str, Data] = {}
    for run in runs(data, *SEARCHED):
        if run["final"] is None:
            continue
        rival = best.get(run["optimizer"])
        if rival is None or sign * run["final"] < sign * rival["final"]:
            best[run["optimizer"]] = run
    return list(best.values())


def _sensitivity(data: Data, name: str) -> Picture | None:
    searches = {each: search for each in seen_as(data) if (search := _search(data, each)).trials}
    if not searches:
        return None
    metric, mode = data["task"]["metric"], data["task"]["mode"]
    drawn = sensitivity(searches, seen_as(data), metric=metric, mode=mode)
    failed = sum(trial.value is None for search in searches.values() for trial in search.trials)
    pruned = sum(bool(run.get("pruned")) for run in runs(data, *SEARCHED))
    these = f"{pruned} that were pruned, where they" if pruned > 1 else "1 that was pruned, where it"
    where = f"at the end (of {these} stopped)" if pruned else "at the end"
    caption = (
        f"Every trial of the search: {metric} {where} against the learning rate; the wider "
        f"the shaded window, the less the lr matters. {failed or 'No'} trial{'s' * (failed != 1)} diverged"
        + (", marked by a cross at the bad edge." if failed else ".")
    )
    return Picture(svg(drawn, name=name, title=f"{metric} against lr", description=caption), caption)


def decades(data: Data) -> dict[str, float]:
    """How wide, in decades, the shaded window of each optimizer is: where the lr stays within 5 % of the best value."""
    mode = part(data, "task").get("mode") or "min"
    windows = {name: window(_search(data, name).trials, mode) for name in part(data, "optimizers")}
    return {name: math.log10(span[1] / span[0]) for name, span in windows.items() if span}


def _search(data: Data, name: str) -> Search:
    trials = [
        Trial(
            run["hyper_parameters"]["lr"],
            None if run["diverged"] else run["final"],
            run["phase"] == "default",
        )
        for run in runs(data, *SEARCHED)
        if run["optimizer"] == name and run["hyper_parameters"].get("lr") and not run.get("error")
    ]
    space = part(part(data, "spaces"), name).get("lr")
    chosen = part(part(part(data, "optimizers"), name), "chosen").get("lr")
    return Search(trials, (space["low"], space["high"]) if space else None, chosen)


def _slices(data: Data, name: str) -> Picture | None:
    shown = [
        Slice(each, hyper, points, span["scale"], flat(part(data, "optimizers")[each].get("chosen") or {}).get(hyper))
        for each, space in part(data, "spaces").items()
        for hyper, span in space.items()
        if span["opened"] and hyper != "lr" and (points := _points(data, each, hyper))
    ]
    if not shown:
        return None
    metric, mode = data["task"]["metric"], data["task"]["mode"]
    drawn = slices(shown, seen_as(data), metric=metric, mode=mode)
    caption = (
        f"{metric} of every trial against each further hyper-parameter that was searched; the others vary as well, so "
        "a cloud without a trend says that this one matters little. A ring is the chosen setting, a cross a "
        "run that diverged."
    )
    return Picture(svg(drawn, name=name, title=f"{metric} against each hyper-parameter", description=caption), caption)


def _points(data: Data, name: str, hyper: str) -> list[tuple[float, float | None]]:
    return [
        (settings[hyper], None if run["diverged"] else run["final"])
        for run in runs(data, *SEARCHED)
        if run["optimizer"] == name and hyper in (settings := flat(run["hyper_parameters"]))
    ]


def flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Hyper-parameters under the names of the search: ``betas`` as beta1, beta2.

    >>> flat({"lr": 0.1, "betas": [0.9, 0.99]})
    {'lr': 0.1, 'beta1': 0.9, 'beta2': 0.99}
    """
    spread: dict[str, Any] = {}
    for key, value in settings.items():
        spread |= {f"beta{i}": v for i, v in enumerate(value, 1)} if key == "betas" else {key: value}
    return spread


def _tuning(data: Data, name: str) -> Picture | None:
    curves = {each: curve for each, curve in part(data, "tuning_curves").items() if curve}
    if not curves:
        return None
    metric = data["task"]["metric"]
    caption = (
        f"The best {metric} to expect from so many of the points that are the same for all: a line that is flat from "
        "the start needs no tuning, one that still climbs or falls at the end has not been searched enough."
    )
    drawn = tuning_curves(curves, seen_as(data), metric=metric)
    return Picture(svg(drawn, name=name, title="Tuning curves", description=caption), caption)


def _cost(data: Data, name: str) -> Picture | None:
    kinds = {"ms per step": "milliseconds_per_step", "state, floats per parameter": "state_per_parameter"}
    panels = {
        what: {row.name: value for row in rows(data) if (value := row.known.get(key)) is not None}
        for what, key in kinds.items()
    }
    panels = {what: bars for what, bars in panels.items() if bars}
    if not panels:
        return None
    caption = (
        "Left the time of one training step, model and optimizer together; right how many numbers the "
        "optimizer keeps for each number it trains."
    )
    drawn = cost(panels, seen_as(data))
    return Picture(svg(drawn, name=name, title="Cost per step and memory", description=caption), caption)
