"""`tune`: the best settings of one optimizer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from thalweg.lab.comparison import Comparison, prepared
from thalweg.lab.events import Progress
from thalweg.lab.result import Result
from thalweg.lab.task import Task


def tune(
    task: Task | str | Path,
    optimizer: str | Path | Callable = "adamw",
    *,
    budget: Any = "standard",
    out: str | Path | None = None,
    fresh: bool = False,
    progress: Progress | None = None,
    **others: Any,
) -> Result:
    """Find the best settings of one optimizer on a task.

    The protocol of `compare` with one candidate, and more of its hyper-parameters searched: as many as three
    times the points would search in a comparison. The two best settings run on fresh seeds, the better one on
    further seeds; what is reported are those.

    Args:
        task: as for `compare`.
        optimizer: the name of a rule, the path of a rule file, or a rule function. Default "adamw".
        budget: as for `compare`. Default "standard".
        out: folder for every run, and in the end for the report. Default: nothing is written.
        fresh: forget the runs that are in `out`. Default False.
        progress: called with every event. Default: nobody is told.
        others: points, steps, seed, jobs, cluster, schedule, margin, timeout, stack, prune, spaces, model, as for
            `compare`.

    Raises:
        What `compare` raises.

    Example:
        >>> import thalweg as tw
        >>> result = tw.tune("digits", "adamw", jobs=1)  # doctest: +SKIP
        >>> result.winner["hyper_parameters"]            # doctest: +SKIP
    """
    comparison = prepared_to_tune(task, optimizer, budget=budget, **others)
    return comparison.run(progress) if out is None else comparison.run_in(out, progress, fresh=fresh)


def prepared_to_tune(task: Task | str | Path, optimizer: str | Path | Callable, **others: Any) -> Comparison:
    """Look at the arguments of `tune` and try the task once."""
    if isinstance(optimizer, str) and not optimizer.endswith(".py"):
        return prepared(task, [optimizer], alone=True, **others)
    return prepared(task, [], rules=[optimizer], alone=True, **others)
