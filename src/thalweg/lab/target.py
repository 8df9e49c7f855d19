"""How long until a run is as good as a baseline: in steps, and in seconds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from thalweg.lab.cost import Cost
from thalweg.lab.run import Run
from thalweg.lab.statistics import Mode

BASELINES = ("adamw", "sgd")


def time_to_target(
    confirmed: Mapping[str, Sequence[Run]],
    costs: Mapping[str, Cost],
    mode: Mode,
    tolerance: float,
    horizons: Mapping[str, int],
) -> dict[str, Any] | None:
    """When the fresh seeds of each optimizer reached the target.

    The target is the median of the baseline's final values, one tolerance worse. The baseline is the better of AdamW
    and SGD; where neither was confirmed, the last of those that were.

    Args:
        confirmed: the runs on fresh seeds, by optimizer.
        costs: what a step takes.
        mode: which way the metric is better.
        tolerance: in units of the metric: the standard deviation between seeds.
        horizons: steps of a full run. One that never reached the target counts with them in the restricted mean.

    Returns:
        The target, whose it is, and for each optimizer how many of its seeds reached it, the median step at which
        they did (None where half of them or more did not), the restricted mean, and the seconds of that median.
        None where nothing was confirmed.
    """
    sign = 1 if mode == "min" else -1
    finals = {
        name: statistics.median([sign * run.final if run.final is not None else float("inf") for run in runs])
        for name, runs in confirmed.items()
        if runs
    }
    if not finals:
        return None
    known = [name for name in BASELINES if name in finals]
    baseline = min(known, key=finals.__getitem__) if known else max(finals, key=finals.__getitem__)
    target = finals[baseline] + tolerance
    if target == float("inf"):
        return None
    reached = {}
    for name in finals:
        at = [_first(run, sign, target) for run in confirmed[name]]
        hit = [step for step in at if step is not None]
        median = statistics.median([step if step is not None else float("inf") for step in at])
        known_median = median if median < float("inf") else None
        cost = costs.get(name)
        reached[name] = {
            "n": len(at),
            "reached": len(hit),
            "steps": known_median,
            "restricted_mean": statistics.fmean(horizons[name] if step is None else step for step in at),
            "seconds": known_median * cost.step if cost and known_median is not None else None,
        }
    return {"value": sign * target, "of": baseline, "tolerance": tolerance, "reached": reached}


def _first(run: Run, sign: int, target: float) -> int | None:
    """The first measured step at which a run is as good."""
    points = (p for p in run.curve if p.metric is not None and sign * p.metric <= target)
    return next((point.step for point in points), None)
