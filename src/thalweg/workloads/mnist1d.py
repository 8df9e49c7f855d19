"""MNIST-1D, ten noisy curves of 40 points, and a convolutional network.

Data: the package mnist1d (Greydanus and Kobak, arXiv 2011.14439, Apache-2.0), generated here, the same
numbers every time; 4000 curves train, 1000 validate.
Reachable in 3000 steps: accuracy .958 by AdamW (lr .03), .954 by SGD with momentum (lr .1); logistic
regression .329.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

from thalweg.extras import require
from thalweg.lab.randomness import undisturbed
from thalweg.lab.task import Task
from thalweg.workloads import accuracy, cross_entropy, stream


@functools.cache
def data() -> dict[str, Tensor]:
    """x (4000, 1, 40) and x_test (1000, 1, 40), float32; their classes y and y_test, int64."""
    mnist1d = require("mnist1d.data")
    with undisturbed():  # the package seeds NumPy's and Python's streams for everybody
        made = mnist1d.make_dataset(mnist1d.get_dataset_args())  # its get_dataset would download
    return {
        "x": torch.tensor(made["x"], dtype=torch.float32).unsqueeze(1),
        "y": torch.tensor(made["y"], dtype=torch.int64),
        "x_test": torch.tensor(made["x_test"], dtype=torch.float32).unsqueeze(1),
        "y_test": torch.tensor(made["y_test"], dtype=torch.int64),
    }


def model(seed: int) -> nn.Module:
    """The package's own network, three strided convolutions of 25 channels: 5,210 parameters."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv1d(1, 25, 5, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv1d(25, 25, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv1d(25, 25, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(25 * 5, 10),
    )


def task(*, steps: int = 3000, batch: int = 100) -> Task:
    """The task; every step draws `batch` training curves with replacement."""
    x, y = data()["x"], data()["y"]

    def train(step: int, seed: int) -> tuple[Tensor, Tensor]:
        rows = torch.randint(len(y), (batch,), generator=stream(seed, step))
        return x[rows], y[rows]

    return Task(
        name="mnist1d",
        model=model,
        train=train,
        loss=cross_entropy,
        validation=(data()["x_test"], data()["y_test"]),
        metric=accuracy,
        metric_name="accuracy",
        mode="max",
        steps=steps,
        description="MNIST-1D, convolutional network, 5.2k parameters",
        licence="Apache-2.0",
        source="mnist1d: Greydanus and Kobak, arXiv 2011.14439",
    )
