"""A physics-informed network: Poisson's equation on the unit square.

Solve -(u_xx + u_yy) = f with u = 0 on the boundary, where f is chosen so that u = sin(pi x) sin(pi y). The
loss is the mean squared residual at random points inside plus a weighted mean square of u on the boundary
(Raissi, Perdikaris and Karniadakis 2019, doi 10.1016/j.jcp.2018.10.045). No data, no licence.
Reachable in 2000 steps: relative L2 error .007 by AdamW (lr .03), .037 by SGD with momentum (lr .003). It
separates optimizers well.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.lab.task import Task
from thalweg.workloads import stream


class Net(nn.Module):
    """2 - 32 - 32 - 32 - 1 with tanh: 2,241 parameters."""

    def __init__(self, width: int = 32, dtype: torch.dtype = torch.float32):
        super().__init__()
        self.first = nn.Linear(2, width, dtype=dtype)
        self.second = nn.Linear(width, width, dtype=dtype)
        self.third = nn.Linear(width, width, dtype=dtype)
        self.last = nn.Linear(width, 1, dtype=dtype)
        for layer in (self.first, self.second, self.third, self.last):
            nn.init.xavier_normal_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Points (n, 2) to u (n,) and its Laplacian (n,).

        Slope and Laplacian travel forward with the value, by the chain rule of each layer: one pass instead
        of three, and every way of differentiating the loss by the parameters works on it.
        """
        value, laplacian = points, torch.zeros_like(points)
        slope = torch.eye(2, dtype=points.dtype).unsqueeze(1).expand(2, len(points), 2)  # along x, along y
        for layer in (self.first, self.second, self.third):
            value, slope, laplacian = layer(value), slope @ layer.weight.T, laplacian @ layer.weight.T
            value = torch.tanh(value)
            bend = 1 - value * value  # the derivative of tanh; its second is -2 value bend
            laplacian = bend * laplacian - 2 * value * bend * (slope * slope).sum(0)
            slope = bend * slope
        return self.last(value).squeeze(1), (laplacian @ self.last.weight.T).squeeze(1)


def exact(points: Tensor) -> Tensor:
    """The solution u at points (n, 2)."""
    return torch.sin(math.pi * points).prod(1)


def relative_error(model: nn.Module, points: Any) -> float:
    """The L2 norm of the error at points (n, 2), relative to that of the solution."""
    u = exact(points)
    return (torch.linalg.norm(model(points)[0] - u) / torch.linalg.norm(u)).item()


def task(
    *,
    steps: int = 2000,
    inside: int = 256,
    boundary: int = 64,
    boundary_weight: float = 20.0,
    fixed: bool = False,
    dtype: torch.dtype = torch.float32,
) -> Task:
    """The task; every step draws `inside` points in the square and `boundary` on its edge.

    With `fixed=True` every step of a run uses the points of the first: a deterministic problem for methods
    that measure curvature, best with `dtype=torch.float64`.
    """

    def model(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return Net(dtype=dtype)

    def train(step: int, seed: int) -> tuple[Tensor, Tensor]:
        numbers = stream(seed, 0 if fixed else step)
        within = torch.rand(inside, 2, generator=numbers, dtype=dtype)
        edge = torch.rand(boundary, 2, generator=numbers, dtype=dtype)
        side = torch.randint(2, (2, boundary), generator=numbers)  # which coordinate is held, at 0 or 1
        edge[torch.arange(boundary), side[0]] = side[1].to(dtype)
        return within, edge

    def loss(model: nn.Module, batch: Any) -> Tensor:
        within, _ = batch
        u, laplacian = model(torch.cat(batch))
        residual = laplacian[: len(within)] + 2 * math.pi**2 * exact(within)
        return residual.square().mean() + boundary_weight * u[len(within) :].square().mean()

    grid = torch.linspace(0, 1, 51, dtype=dtype)
    return Task(
        name="poisson_pinn",
        model=model,
        train=train,
        loss=loss,
        validation=torch.cartesian_prod(grid, grid),
        metric=relative_error,
        metric_name="relative L2 error",
        mode="min",
        steps=steps,
        description="Poisson's equation on the unit square, tanh network, 2.2k parameters",
        source="manufactured solution sin(pi x) sin(pi y)",
    )
