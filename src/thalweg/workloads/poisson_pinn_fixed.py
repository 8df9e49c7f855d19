"""The physics-informed network of `poisson_pinn` on fixed points, in float64: a loss that does not change.

Every step of a run uses the same points, so that methods which measure curvature can be compared with others
(`thalweg compare poisson_pinn_fixed --optimizers broyden,lbfgs,adamw`). A seed has points of its own.
Reachable in 2000 steps, which are 2000 evaluations of a minimizer: see docs/minimize.md.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from thalweg.lab.task import Task
from thalweg.workloads import poisson_pinn


def task(*, steps: int = 2000, inside: int = 256, boundary: int = 64, boundary_weight: float = 20.0) -> Task:
    """The task; `inside` points in the square and `boundary` on its edge, the same in every step."""
    made = poisson_pinn.task(
        steps=steps, inside=inside, boundary=boundary, boundary_weight=boundary_weight, fixed=True, dtype=torch.float64
    )
    return replace(made, name="poisson_pinn_fixed", description=f"{made.description}, fixed points, float64")
