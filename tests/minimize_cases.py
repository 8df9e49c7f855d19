"""Problems that several tests of the minimizers share."""

from __future__ import annotations

import torch


def valley(x):
    """Rosenbrock's, of any number of unknowns."""
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def starts(count, n=3):
    return torch.randn(count, n, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
