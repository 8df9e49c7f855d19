"""Least squares on batches: full, mini-batch and single rows, the three pictures of gradient descent."""

import torch
from torch import Tensor

from thalweg.landscape import Landscape

ROWS = 64


def noisy_least_squares(batch: int | str = 8, noise=0.5) -> Landscape:
    """Fit a line to 64 points; the gradient of step t sees `batch` of them.

    Args:
        batch: rows per step: a number, "full" or "single".
        noise: standard deviation of the points around the line.
    """
    size = {"full": ROWS, "single": 1}.get(batch, batch) if isinstance(batch, str) else batch
    if not isinstance(size, int) or not 1 <= size <= ROWS:
        raise ValueError(f"batch is {batch!r}; it must be full, single, or a number from 1 to {ROWS}.")
    random = torch.Generator().manual_seed(0)
    x = torch.randn(ROWS, generator=random, dtype=torch.float64)
    rows = torch.stack([2 * x, torch.ones_like(x)], dim=1)
    y = rows @ torch.tensor([1.0, -0.5], dtype=torch.float64)
    y = y + noise * torch.randn(ROWS, generator=random, dtype=torch.float64)

    def loss(p: Tensor, chosen: Tensor | slice) -> Tensor:
        return 0.5 * (p @ rows[chosen].T - y[chosen]).square().mean(-1)

    def sample(p: Tensor, t: int, seed: int) -> Tensor:
        order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(1_000_003 * seed + t))
        return loss(p, order[:size])

    best = torch.linalg.lstsq(rows, y[:, None]).solution[:, 0]
    return Landscape(
        name="noisy_least_squares",
        value=lambda p: loss(p, slice(None)),
        start=(-1.2, 1.6),
        domain=((-2.0, 3.0), (-2.75, 2.25)),
        minima=(tuple(best.tolist()),),
        lowest=float(loss(best, slice(None))),
        formula="mean of (2 w₀ x + w₁ - y)² / 2 over the batch",
        summary="A line through 64 noisy points, its slope and its height.",
        teaches="All rows: a smooth path. A few: a path with a tremble. A single one: a cheap, wild walk that hovers "
        "around the minimum, in a cloud as wide as lr allows.",
        coordinates=("slope", "height"),
        sample=None if size == ROWS else sample,
    )
