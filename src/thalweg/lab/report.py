"""The report of a comparison: one HTML file that needs nothing else, on a screen, offline or on paper.

`write_report` takes the dictionary that is saved as result.json and nothing more, so a report can be made
again from the file. Whatever a comparison that was stopped early does not know is left out or said so.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thalweg.extras import require
from thalweg.lab.files import write
from thalweg.pictures.cost import cost
from thalweg.pictures.curves import learning_curves, tuning_curves
from thalweg.pictures.forest import Difference, forest
from thalweg.pictures.sensitivity import Search, Trial, sensitivity
from thalweg.pictures.style import Look, looks, short, svg

Data = Mapping[str, Any]

SYMBOLS = dict(zip("os^DvP<X>hp", "●■▲◆▼✚◀✖▶⬢⬟", strict=True))
"""matplotlib's markers as characters, so that a table row is recognised in the pictures."""


def write_report(data: Data, path: Path) -> None:
    """Write the report of a result to `path`; the file appears whole or not at all."""
    write(path, render(data))


def render(data: Data) -> str:
    """The report as HTML."""
    jinja2 = require("jinja2")
    source = Path(__file__).with_name("report.html.jinja").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(number=short, metric=_metric_format(data), settings=settings)
    return environment.from_string(source).render(
        data=data,
        decision=_part(data, "decision"),
        task=_part(data, "task"),
        budget=_part(data, "budget"),
        ledger=_part(_part(data, "budget"), "ledger"),
        spaces=_part(data, "spaces"),
        code=code(data),
        confirmed=is_confirmed(data),
        optimizers=list(_part(data, "optimizers")),
        rows=rows(data),
        pictures=pictures(data),
        ledger_sentence=ledger_sentence(data),
        events=events(data),
        seeds=seeds(data),
    )


def _part(data: Data, key: str) -> Data:
    return data.get(key) or {}


def _runs(data: Data, *phases: str) -> list[Data]:
    return [run for run in data.get("runs") or [] if run["phase"] in phases]


def _looks(data: Data) -> dict[str, Look]:
    """One look per optimizer, in the order in which the comparison lists them."""
    named = [*_part(data, "optimizers"), *(run["optimizer"] for run in data.get("runs") or [])]
    return looks(dict.fromkeys(named))


# ---- words and numbers


def _metric_format(data: Data) -> Callable[[float | None], str]:
    """Metric values with as many decimals as the spread between seeds leaves meaningful."""
    spread = _part(data, "decision").get("seed_sd")
    if not spread or not 1e-6 < spread < 100:
        return short
    decimals = max(0, 1 - math.floor(math.log10(spread)))
    return lambda value: "–" if value is None else f"{value:.{decimals}f}"


def _literal(value: Any, digits: int | None = None) -> str:
    if isinstance(value, list | tuple):
        return f"({', '.join(_literal(each, digits) for each in value)}{',' * (len(value) == 1)})"
    if digits and isinstance(value, float):
        return short(value, digits)
    return repr(value)


def settings(values: Data | None) -> list[str]:
    """Hyper-parameters as arguments, rounded for reading.

    >>> settings({"lr": 0.00123456, "betas": [0.9, 0.98]})
    ['lr=0.001235', 'betas=(0.9, 0.98)']
    """
    return [f"{key}={_literal(value, 4)}" for key, value in (values or {}).items()]


def code(data: Data) -> str | None:
    """The recommended optimizer as a line of code with exact values, or None when there is none."""
    best = data.get("winner")
    if not best:
        return None
    name = best["class"] if "." in best["class"] else f"tw.{best['class']}"
    arguments = [f"{key}={_literal(value)}" for key, value in best["hyper_parameters"].items()]
    return f"{name}({', '.join(['model.parameters()', *arguments])})"


def is_confirmed(data: Data) -> bool:
    """Whether fresh seeds stand behind the recommendation, not the search alone."""
    best = _part(_part(data, "optimizers"), _part(data, "winner").get("optimizer", ""))
    return bool(best.get("confirmed"))


# ---- tables


@dataclass(frozen=True)
class Row:
    """One optimizer in the table of results."""

    name: str
    colour: str
    symbol: str
    known: Data
    recommended: bool

    @property
    def confirmed(self) -> Data | None:
        """What fresh seeds say, if there were any."""
        return self.known.get("confirmed")

    @property
    def failed(self) -> int:
        """How many of the fresh seeds diverged; the mean counts them with the worst value."""
        return sum(value is None for value in (self.confirmed or {}).get("values", []))


def rows(data: Data) -> list[Row]:
    """The confirmed optimizers, best first; then the others by their search value; then those without any."""
    sign = 1 if _part(data, "task").get("mode") == "min" else -1

    def rank(row: Row) -> tuple[int, float]:
        if row.confirmed:
            return 0, sign * row.confirmed["mean"]
        best = row.known.get("search_best")
        return (2, 0.0) if best is None else (1, sign * best)

    recommended = _part(data, "decision").get("recommended")
    seen = _looks(data)
    made = [
        Row(name, seen[name].colour, SYMBOLS[seen[name].marker], known, name == recommended)
        for name, known in _part(data, "optimizers").items()
    ]
    return sorted(made, key=rank)


def ledger_sentence(data: Data) -> str:
    """Whether every optimizer got the same number of search steps."""
    steps = {name: spent["search_steps"] for name, spent in _part(_part(data, "budget"), "ledger").items()}
    if not steps:
        return "What was spent on each is not known."
    if len(set(steps.values())) == 1:
        return f"Every optimizer got the same {next(iter(steps.values())):,} steps of search."
    least, most = min(steps, key=lambda name: steps[name]), max(steps, key=lambda name: steps[name])
    return f"The steps of search are not equal: {most} got {steps[most]:,}, {least} only {steps[least]:,}."


def events(data: Data) -> list[str]:
    """What the reader should know about how it went: notes, choices at an edge, reasons of failures."""
    edges = [
        f"{name}: the chosen lr lies at the {known['edge']} edge of its space; a better one may lie beyond."
        for name, known in _part(data, "optimizers").items()
        if known.get("edge")
    ]
    failures = Counter(
        (run["optimizer"], run.get("why") or "no reason given") for run in data.get("runs") or [] if run["diverged"]
    )
    failed = [
        f"{name}: {count} {'run' if count == 1 else 'runs'} diverged ({why})."
        for (name, why), count in failures.items()
    ]
    return [*_part(data, "decision").get("notes", []), *edges, *failed]


def seeds(data: Data) -> dict[str, list[int]]:
    """The seeds used in each phase."""
    phases = dict.fromkeys(run["phase"] for run in data.get("runs") or [])
    return {phase: sorted({run["seed"] for run in _runs(data, phase)}) for phase in phases}


# ---- pictures


@dataclass(frozen=True)
class Picture:
    """A drawing and the sentence beneath it."""

    svg: str
    caption: str


def pictures(data: Data) -> dict[str, Picture]:
    """Every picture that the data allow, by the name of its section."""
    makers = {
        "differences": _differences,
        "curves": _curves,
        "lr": _sensitivity,
        "tuning": _tuning,
        "cost": _cost,
    }
    made = {name: maker(data, f"{name}-picture") for name, maker in makers.items()}
    return {name: picture for name, picture in made.items() if picture}


def _differences(data: Data, name: str) -> Picture | None:
    decision = _part(data, "decision")
    against = [each for each in decision.get("comparisons") or [] if each.get("low") is not None]
    if not against:
        return None
    shown = [Difference(c["rival"], c["difference"], c["low"], c["high"], c["verdict"]) for c in against]
    task, leader = data["task"], decision["leader"]
    drawn = forest(
        shown,
        _looks(data),
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


def _curves(data: Data, name: str) -> Picture | None:
    shown, sentence = _runs(data, "confirmation"), "the median over the fresh seeds, the band its quartiles"
    if not shown:
        shown, sentence = (
            _best_searches(data),
            "the best run of each search: one seed, so it proves nothing yet",
        )
    shown = [run for run in shown if run.get("curve")]
    if not shown:
        return None
    metric, mode = data["task"]["metric"], data["task"]["mode"]
    loss = "training loss" if metric != "training loss" else "loss"
    panels = {metric: _by_optimizer(shown, "metric"), loss: _by_optimizer(shown, "loss")}
    drawn = learning_curves(panels, _looks(data), {metric: mode, loss: "min"})
    caption = (
        f"Left {metric}, right the training loss, at every measured step; each line is {sentence}. "
        "The vertical axes leave out what only the first quarter of the steps reaches."
    )
    return Picture(svg(drawn, name=name, title="Learning curves", description=caption), caption)


def _by_optimizer(runs: Sequence[Data], key: str) -> dict[str, list[list[tuple[float, float | None]]]]:
    grouped: dict[str, list[list[tuple[float, float | None]]]] = {}
    for run in runs:
        curve = [(point["step"], point.get(key)) for point in run["curve"]]
        grouped.setdefault(run["optimizer"], []).append(curve)
    return grouped


def _best_searches(data: Data) -> list[Data]:
    """The best finished run of the search of each optimizer."""
    sign = 1 if _part(data, "task").get("mode") == "min" else -1
    best: dict[str, Data] = {}
    for run in _runs(data, "default", "search", "edge"):
        if run["final"] is None:
            continue
        rival = best.get(run["optimizer"])
        if rival is None or sign * run["final"] < sign * rival["final"]:
            best[run["optimizer"]] = run
    return list(best.values())


def _sensitivity(data: Data, name: str) -> Picture | None:
    searches = {each: search for each in _looks(data) if (search := _search(data, each)).trials}
    if not searches:
        return None
    metric, mode = data["task"]["metric"], data["task"]["mode"]
    drawn = sensitivity(searches, _looks(data), metric=metric, mode=mode)
    failed = sum(trial.value is None for search in searches.values() for trial in search.trials)
    caption = (
        f"Every trial of the search: {metric} at the end against the learning rate; the wider the shaded "
        f"window, the less the lr matters. {failed or 'No'} trial{'s' * (failed != 1)} diverged"
        + (", marked by a cross at the bad edge." if failed else ".")
    )
    return Picture(svg(drawn, name=name, title=f"{metric} against lr", description=caption), caption)


def _search(data: Data, name: str) -> Search:
    trials = [
        Trial(
            run["hyper_parameters"]["lr"],
            None if run["diverged"] else run["final"],
            run["phase"] == "default",
        )
        for run in _runs(data, "default", "search", "edge")
        if run["optimizer"] == name and run["hyper_parameters"].get("lr")
    ]
    space = _part(_part(data, "spaces"), name).get("lr")
    chosen = _part(_part(_part(data, "optimizers"), name), "chosen").get("lr")
    return Search(trials, (space["low"], space["high"]) if space else None, chosen)


def _tuning(data: Data, name: str) -> Picture | None:
    curves = {each: curve for each, curve in _part(data, "tuning_curves").items() if curve}
    if not curves:
        return None
    metric = data["task"]["metric"]
    caption = (
        f"The best {metric} to expect from a search of so many random trials: a line that is flat from the "
        "start needs no tuning, one that still climbs or falls at the end has not been searched enough."
    )
    drawn = tuning_curves(curves, _looks(data), metric=metric)
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
    drawn = cost(panels, _looks(data))
    return Picture(svg(drawn, name=name, title="Cost per step and memory", description=caption), caption)
