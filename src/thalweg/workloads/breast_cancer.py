"""Logistic regression on all rows at once: convex and without noise, so that the optimum is known.

Data: scikit-learn's `load_breast_cancer`, 569 tumours with 30 features (UCI, Breast Cancer Wisconsin
Diagnostic, CC BY 4.0), standardised, float64. The loss is the mean log loss plus 1e-4 / 2 times the squared
length of the weights (not the bias), its minimum 0.042619.
Reachable in 1500 steps: training loss minus the minimum 3e-12 by AdamW without decay (lr 2), 0 by SGD with
momentum (lr 20).
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.extras import require
from thalweg.lab.task import Task

L2 = 1e-4
MINIMUM = 0.04261937303109118  # of the loss on all rows, by Newton's method
TRAINING_ROWS = 380  # when rows are held out


@functools.cache
def data() -> tuple[Tensor, Tensor]:
    """Features (569, 30), mean 0, variance 1, and 0 or 1 (569,), float64, in one fixed random order."""
    x, y = require("sklearn.datasets").load_breast_cancer(return_X_y=True)
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    x = (x - x.mean(0)) / x.std(0)
    return torch.tensor(x, dtype=torch.float64)[order], torch.tensor(y, dtype=torch.float64)[order]


def model(seed: int) -> nn.Module:
    """One linear unit with torch's random start: 31 parameters, float64."""
    torch.manual_seed(seed)
    return nn.Linear(30, 1, dtype=torch.float64)


def log_loss(model: nn.Module, batch: Any) -> Tensor:
    """Mean negative log likelihood in nats of `batch = (x, y)`."""
    x, y = batch
    return nn.functional.binary_cross_entropy_with_logits(model(x).squeeze(1), y)


def loss(model: nn.Module, batch: Any) -> Tensor:
    """The log loss plus the penalty on the weights; in float64, strictly convex."""
    weights = [p for p in model.parameters() if p.ndim == 2]
    return log_loss(model, batch) + L2 / 2 * sum((w * w).sum() for w in weights)


def task(*, steps: int = 1500, held_out: bool = False) -> Task:
    """The task; the metric is the training loss minus its minimum, on whatever rows it is asked for.

    With `held_out=True` a third of the rows is kept from training and the metric is the log loss on them.
    """
    x, y = data()
    rows = TRAINING_ROWS if held_out else len(y)
    batch = x[:rows].clone(), y[:rows].clone()

    def gap(model: nn.Module, _: Any) -> float:
        return loss(model, batch).item() - MINIMUM

    return Task(
        name="breast_cancer",
        model=model,
        train=lambda step, seed: batch,
        loss=loss,
        validation=(x[rows:].clone(), y[rows:].clone()) if held_out else batch,
        metric=log_loss if held_out else gap,
        metric_name="validation log loss" if held_out else "training loss minus minimum",
        mode="min",
        steps=steps,
        description="breast cancer, logistic regression on all rows, float64, 31 parameters",
        licence="data CC BY 4.0, package BSD-3-Clause",
        source="scikit-learn load_breast_cancer: UCI Breast Cancer Wisconsin (Diagnostic)",
    )
