"""A small task that tests change one field of, and the state of the random streams."""

import random

import numpy as np
import torch
from torch import nn

from thalweg.lab.task import Task


def mse(model, batch):
    x, y = batch
    return nn.functional.mse_loss(model(x), y)


def rows(n, number):
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(number))
    return x, x.sum(1, keepdim=True)


def make(**changes):
    fields = {
        "model": lambda seed: nn.Linear(3, 1),
        "train": lambda step, seed: rows(8, 1000 * seed + step),
        "loss": mse,
        "validation": rows(21, -1),
        "metric": mse,
        "mode": "min",
        "steps": 10,
    }
    return Task(**(fields | changes))


def streams(*generators):
    torches = [g.get_state() for g in (torch.default_generator, *generators) if g is not None]
    _, keys, place, *_ = np.random.get_state()
    return [state.numpy().tobytes() for state in torches], keys.tobytes(), place, random.getstate()
