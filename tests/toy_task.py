"""A task that trains in milliseconds: a line through noisy points, by a network of one layer."""

import torch

from thalweg.lab.task import Task

TRUTH = torch.tensor([1.0, -2.0, 0.5, 3.0])


def rows(n, key):
    numbers = torch.Generator().manual_seed(key)
    x = torch.randn(n, 4, generator=numbers)
    return x, x @ TRUTH + 0.3 * torch.randn(n, generator=numbers)


def mse(model, data):
    x, y = data
    return torch.nn.functional.mse_loss(model(x).squeeze(1), y)


def metric(model, data):
    return mse(model, data).item()


task = Task(
    name="toy",
    model=lambda seed: torch.nn.Linear(4, 1),
    train=lambda step, seed: rows(16, 1000 * seed + step),
    loss=mse,
    validation=rows(64, 10**9),
    metric=metric,
    metric_name="mse",
    mode="min",
    steps=20,
)
