"""A task of your own, in ten lines: `thalweg compare examples/my_task.py`."""

import torch

import thalweg as tw

x = torch.randn(600, 8, generator=torch.Generator().manual_seed(0))
y = (x[:, 0] * x[:, 1] > 0).long()


def rows(step, seed):
    """32 rows of the training data, decided by seed and step alone."""
    return torch.randint(400, (32,), generator=torch.Generator().manual_seed(seed * 10_000 + step))


task = tw.Task(
    model=lambda seed: torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.ReLU(), torch.nn.Linear(32, 2)),
    train=lambda step, seed: (x[rows(step, seed)], y[rows(step, seed)]),
    loss=lambda model, batch: torch.nn.functional.cross_entropy(model(batch[0]), batch[1]),
    validation=(x[400:], y[400:]),
    metric=lambda model, data: (model(data[0]).argmax(1) == data[1]).float().mean(),
    mode="max",
    steps=200,
    name="product of signs",
    metric_name="accuracy",
)
