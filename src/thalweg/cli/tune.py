"""`thalweg tune TASK`: the best settings of one optimizer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from thalweg.cli import options
from thalweg.cli.compare import chosen
from thalweg.cli.running import performed


def tune(
    task: options.TaskName,
    optimizer: Annotated[str, typer.Option(help="The name of a rule, or a rule file of yours.")] = "adamw",
    budget: options.Budget = "standard",
    points: options.Points = None,
    steps: options.Steps = None,
    seed: options.Seed = 0,
    jobs: options.Jobs = None,
    cluster: options.Cluster = "off",
    out: options.Out = None,
    timeout: options.Timeout = None,
    stack: options.Stacked = "auto",
    schedule: options.Schedule = "warmup_cosine",
    prune: options.Prune = True,
    spaces: options.Spaces = None,
    model: options.Model = None,
    fresh: options.Fresh = False,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> None:
    """Find the best settings of one optimizer on a task: more of its hyper-parameters are searched than by compare."""
    from thalweg.lab.store import NAME
    from thalweg.lab.tuning import prepared_to_tune

    def prepare() -> tuple[Any, Path]:
        comparison = prepared_to_tune(
            task, optimizer, budget=budget, points=points, steps=steps, seed=seed, jobs=jobs, cluster=cluster,
            timeout=timeout, stack=stack, schedule=schedule, prune=prune, spaces=spaces, model=model,
        )  # fmt: skip
        return comparison, chosen(out, comparison.task.name, NAME)

    performed(prepare, fresh=fresh, quiet=quiet, as_json=as_json)
