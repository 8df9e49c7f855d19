"""A minimizer among the racers: BFGS, conjugate gradients, Newton, with their evaluations counted.

It has no lr to choose, and walks on the landscape itself: a line search would be misled by batches. As many
evaluations as the others take steps are its budget.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from thalweg.engine.trajectory import Trajectory
from thalweg.landscape import Landscape
from thalweg.minimize import Result, minimize
from thalweg.racing.entries import Searcher

GTOL = 1e-10
# For few unknowns `minimize` takes BFGS in the place of conjugate gradients; whoever races them wants to see them.
ITSELF = {"cg": {"matrix": 0}}


def search(entry: Searcher, place: Landscape, steps: int) -> Trajectory:
    """Its trajectory: a row per accepted step, with the evaluations of the loss and its gradient up to there.

    A Hessian counts as one evaluation per unknown, a product with it as one.

    Raises:
        ValueError: the landscape has bounds, or an option is none.
    """
    if place.bounds:
        raise ValueError(f"{entry.name} cannot race on {place.name}: a minimizer knows no bounds.")
    start = place.point()
    rows: list[tuple[int, torch.Tensor, float, torch.Tensor]] = []
    loss, slope = place.slope(start)
    rows.append((1, start, float(loss), slope))

    def seen(intermediate_result: Result) -> None:
        now = intermediate_result
        count = int(now.nfev) + start.numel() * int(now.nhev) + int(now.nhvp)
        if count <= steps + 1:
            rows.append((count, now.x.clone(), float(now.fun), now.grad.clone()))

    options = {"gtol": GTOL, "maxfun": steps + 1, **ITSELF.get(entry.method, {}), **entry.options}
    minimize(place.value, start, method=entry.method, callback=seen, options=options)
    values: dict[str, list[Any]] = {"evaluations": [count for count, *_ in rows]}
    places = torch.stack([each for _, each, *_ in rows])
    if place.is_matrix:
        values[place.coordinates[0]] = places.tolist()
        values["singular values"] = torch.linalg.svdvals(places).tolist()
    else:
        values |= {name: places[:, i].tolist() for i, name in enumerate(place.coordinates)}
    values["loss"] = [loss for _, _, loss, _ in rows]
    values["gradient norm"] = [float(g.norm()) for *_, g in rows]
    if not all(map(math.isfinite, values["loss"])):
        raise ValueError(f"{entry.name} found a loss on {place.name} that is no number.")
    return Trajectory(list(range(len(rows))), values)
