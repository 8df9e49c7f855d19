"""Handwritten digits of 8 x 8 pixels and a multilayer perceptron: a smoke test.

Data: scikit-learn's `load_digits`, 1797 images in 10 classes (UCI, Optical Recognition of Handwritten
Digits, CC BY 4.0); 1200 rows train, 597 validate, so one row is 0.17 %.
Reachable in 1000 steps: accuracy .972 by AdamW (lr .01), .978 by SGD with momentum (lr .1); logistic
regression .968. The learning rate hardly matters.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

from thalweg.extras import require
from thalweg.lab.task import Task
from thalweg.workloads import accuracy, cross_entropy, stream

TRAINING_ROWS = 1200


@functools.cache
def data() -> tuple[Tensor, Tensor]:
    """Images (1797, 64) in [0, 1], float32, and classes (1797,), int64, in one fixed random order."""
    x, y = require("sklearn.datasets").load_digits(return_X_y=True)
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    return torch.tensor(x / 16, dtype=torch.float32)[order], torch.tensor(y, dtype=torch.int64)[order]


def model(seed: int) -> nn.Module:
    """64 - 128 - 64 - 10 with ReLU: 17,226 parameters."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))


def task(*, steps: int = 1000, batch: int = 64) -> Task:
    """The task; every step draws `batch` training rows with replacement."""
    x, y = (part[:TRAINING_ROWS].clone() for part in data())

    def train(step: int, seed: int) -> tuple[Tensor, Tensor]:
        rows = torch.randint(len(y), (batch,), generator=stream(seed, step))
        return x[rows], y[rows]

    return Task(
        name="digits",
        model=model,
        train=train,
        loss=cross_entropy,
        validation=tuple(part[TRAINING_ROWS:].clone() for part in data()),
        metric=accuracy,
        metric_name="accuracy",
        mode="max",
        steps=steps,
        description="8 x 8 handwritten digits, multilayer perceptron, 17k parameters",
        licence="data CC BY 4.0, package BSD-3-Clause",
        source="scikit-learn load_digits: UCI Optical Recognition of Handwritten Digits",
    )
