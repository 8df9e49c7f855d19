"""What the report says in words and numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

from thalweg.lab.report.data import SEARCHED, Data, part, runs
from thalweg.pictures.style import short
from thalweg.schedule import TUNED


def metric_format(data: Data) -> Callable[[float | None], str]:
    """Metric values with as many decimals as the spread between seeds leaves meaningful."""
    spread = part(data, "decision").get("seed_sd")
    if not spread or not 1e-6 < spread < 100:
        return short
    decimals = max(0, 1 - math.floor(math.log10(spread)))
    return lambda value: "–" if value is None else f"{value:.{decimals}f}"


def literal(value: Any, digits: int | None = None) -> str:
    """A value as Python code; a float rounded to so many digits where they are given."""
    if isinstance(value, list | tuple):
        return f"({', '.join(literal(each, digits) for each in value)}{',' * (len(value) == 1)})"
    if digits and isinstance(value, float):
        return short(value, digits)
    return repr(value)


def settings(values: Data | None) -> list[str]:
    """Hyper-parameters as arguments, rounded for reading.

    >>> settings({"lr": 0.00123456, "betas": [0.9, 0.98]})
    ['lr=0.001235', 'betas=(0.9, 0.98)']
    """
    return [f"{key}={literal(value, 4)}" for key, value in (values or {}).items()]


def heading(data: Data) -> str:
    """What was compared, or tuned.

    >>> heading({"task": {"name": "digits"}, "optimizers": {"adamw": {}}})
    'digits: adamw tuned'
    """
    names = list(part(data, "optimizers"))
    done = f"{names[0]} tuned" if len(names) == 1 else "optimizers compared"
    return f"{part(data, 'task').get('name') or 'Comparison'}: {done}"


def chosen_format(data: Data) -> Callable[[Data], list[str]]:
    """What was chosen for an optimizer; with the schedule where that was searched too."""
    tuned = part(data, "budget").get("schedule") == TUNED
    return lambda known: [*settings(known.get("chosen")), *([known["schedule"]] if tuned and known["schedule"] else [])]


def ahead(comparison: Data) -> str:
    """How probable it is that the leader is better on one seed, with the interval.

    >>> ahead({"ahead": 0.8, "ahead_low": 0.376, "ahead_high": 0.964})
    '0.8 (0.38 to 0.96)'
    """
    if comparison.get("ahead") is None:
        return "–"
    share, low, high = (short(comparison[f"ahead{part}"], 2) for part in ("", "_low", "_high"))
    return f"{share} ({low} to {high})"


def size(count: int | None) -> str:
    """Bytes as one would say them.

    >>> size(76_960), size(1_500_000_000), size(None)
    ('77 kB', '1.5 GB', '–')
    """
    if count is None:
        return "–"
    power = min(3, int(math.log10(max(count, 1)) // 3))
    return f"{short(count / 1000**power, 3)} {('B', 'kB', 'MB', 'GB')[power]}"


def code(data: Data) -> str | None:
    """The recommended optimizer as a line of code with exact values, or None when there is none."""
    best = data.get("winner")
    if not best:
        return None
    name = f"tw.optimizer({best['rule']})" if best.get("rule") else f"tw.{best['class']}"
    arguments = [f"{key}={literal(value)}" for key, value in best["hyper_parameters"].items()]
    return f"{name}({', '.join(['model.parameters()', *arguments])})"


def is_confirmed(data: Data) -> bool:
    """Whether fresh seeds stand behind the recommendation, not the search alone."""
    best = part(part(data, "optimizers"), part(data, "winner").get("optimizer", ""))
    return bool(best.get("confirmed"))


def ledger_sentence(data: Data) -> str:
    """Whether every optimizer got the same number of search steps."""
    budget = part(data, "budget")
    steps = {name: spent["search_steps"] for name, spent in part(budget, "ledger").items()}
    if not steps:
        return "What was spent on each is not known."
    if budget.get("equal") == "seconds":
        given = ", ".join(f"{name} {steps[name]:,} in runs of {whole:,}" for name, whole in budget["horizons"].items())
        return f"Runs are equal in seconds, not in steps; steps of search: {given}."
    if len(set(steps.values())) == 1:
        return f"Every optimizer got the same {next(iter(steps.values())):,} steps of search."
    least, most = min(steps, key=lambda name: steps[name]), max(steps, key=lambda name: steps[name])
    return f"The steps of search are not equal: {most} got {steps[most]:,}, {least} only {steps[least]:,}."


def ranges(data: Data) -> str | None:
    """Which ranges were searched, and where they are from.

    >>> ranges({"ranges": {"version": "my.toml 0a1b", "sources": {"sgd": "our sweeps", "lion": ""}}})
    'Ranges: my.toml 0a1b; of sgd: our sweeps.'
    """
    known = part(data, "ranges")
    if not known.get("version"):
        return None
    sources = [f"of {name}: {source}" for name, source in part(known, "sources").items() if source]
    return f"Ranges: {'; '.join([known['version'], *sources])}."


def reporting(data: Data) -> str | None:
    """The items that report, and how exactly so many can tell the metric where it is a share of them.

    It is one where every value on them, times their number, is a whole number.

    >>> known = {"values": [0.75, 0.77], "mean": 0.76}
    >>> reporting({"task": {"reports": 100, "metric": "accuracy"}, "optimizers": {"sgd": {"confirmed": known}}})
    '100; so few tell accuracy 0.76 to ±0.0427 (one sd), alike for all seeds and in no interval here'
    """
    task = part(data, "task")
    n, metric = task.get("reports"), task.get("metric")
    confirmed = [one["confirmed"] for one in part(data, "optimizers").values() if one.get("confirmed")]
    if not n or not confirmed:
        return f"{n:,}" if n else None
    values = [value for one in confirmed for value in one["values"] if value is not None]
    if not all(0 <= value <= 1 and abs(value * n - round(value * n)) < 1e-6 * n for value in values):
        return f"{n:,}; how exactly so many tell {metric} is not known: it is no share of them"
    best = (min if task.get("mode") == "min" else max)(one["mean"] for one in confirmed)
    error = math.sqrt(best * (1 - best) / n)
    exact = f"so few tell {metric} {short(best)} to ±{short(error, 3)} (one sd)"
    return f"{n:,}; {exact}, alike for all seeds and in no interval here"


def overhead(data: Data) -> tuple[str, dict[str, float]]:
    """How much dearer each optimizer's step is than SGD's, or than the cheapest where SGD does not compete.

    >>> overhead({"optimizers": {"adam": {"milliseconds_per_step": 3.0}, "sgd": {"milliseconds_per_step": 2.0}}})
    ('sgd', {'adam': 1.5, 'sgd': 1.0})
    """
    known = {name: one["milliseconds_per_step"] for name, one in part(data, "optimizers").items()}
    known = {name: ms for name, ms in known.items() if ms}
    against = next(
        (name for name in known if name.lower() == "sgd"), min(known, key=lambda name: known[name], default="")
    )
    return against, {name: ms / known[against] for name, ms in known.items()}


def stacking(data: Data) -> str | None:
    """Whether trials were trained as one, and what that saved."""
    way = part(data, "together")
    if not way:
        return None
    if way["members"] < 2:
        return f"Trials were trained one after the other: {way['why']}."
    saved = ""
    if way.get("loop") and way.get("together"):
        alone, each = 1000 * way["loop"], 1000 * way["together"]
        saved = f" A step of one cost {short(each, 2)} ms of CPU in such a stack and {short(alone, 2)} ms alone."
    return f"Up to {way['members']} trials were trained as one stack.{saved}"


def halving(data: Data) -> list[dict[str, Any]]:
    """For each optimizer how many runs of its search were dropped at each rung, and how many were trained to the end.

    A rung at which nothing of any optimizer was dropped was not used, and is left out.
    """
    pruning = part(data, "pruning")
    used = {i for rungs in pruning.values() for i, each in enumerate(rungs) if each["pruned"]}
    if not used:
        return []
    whole = Counter(
        run["optimizer"]
        for run in runs(data, *SEARCHED)
        if not (run.get("pruned") or run["diverged"] or run.get("error"))
    )
    return [
        {"name": name, "rungs": [each for i, each in enumerate(rungs) if i in used], "whole": whole[name]}
        for name, rungs in pruning.items()
    ]


def missing(data: Data) -> list[str]:
    """What a comparison that was stopped does not know yet."""
    if not data.get("interrupted"):
        return []
    known, budget = part(data, "optimizers"), part(data, "budget")
    searched = {name: one.get("trials") or 0 for name, one in known.items()}
    wanted = 1 + (budget.get("points") or 0)
    short_of = {name: count for name, count in searched.items() if count < wanted}
    said = []
    if short_of:
        counts = ", ".join(f"{name} {count} of {wanted}" for name, count in short_of.items())
        said.append(f"The search is not done: {counts} trials.")
    judged = {name: one["confirmed"]["n"] for name, one in known.items() if one.get("confirmed")}
    if not judged:
        said.append("No settings were confirmed on fresh seeds, so no difference is known and nothing is a result.")
    elif (looks := budget.get("looks")) and min(judged.values()) < looks[0]:
        counts = ", ".join(f"{name} {count}" for name, count in judged.items())
        said.append(f"Not all fresh seeds were run: {counts} of {looks[0]}.")
    return [*said, "thalweg resume goes on in this folder, and repeats nothing."]


def events(data: Data) -> list[str]:
    """What the reader should know about how it went: notes, choices at an edge, reasons of failures."""
    edges = [
        f"{name}: the chosen {hyper} lies at the {side} edge of its space; a better one may lie beyond."
        for name, known in part(data, "optimizers").items()
        for hyper, side in part(known, "edges").items()
    ]
    failures = Counter(
        (run["optimizer"], run.get("why") or "no reason given") for run in data.get("runs") or [] if run["diverged"]
    )
    failed = [
        f"{name}: {count} {'run' if count == 1 else 'runs'} diverged ({why})."
        for (name, why), count in failures.items()
    ]
    return [*part(data, "decision").get("notes", []), *edges, *failed]


def seeds(data: Data) -> dict[str, list[int]]:
    """The seeds used in each phase."""
    phases = dict.fromkeys(run["phase"] for run in data.get("runs") or [])
    return {phase: sorted({run["seed"] for run in runs(data, phase)}) for phase in phases}
