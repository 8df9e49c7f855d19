"""DeepOBS' noisy quadratic in 100 dimensions: 90 flat directions, 10 steep ones. A check with published numbers.

Problem: Schneider, Balles and Hennig 2019 (DeepOBS 1.1, `quadratic_deep`); eigenvalues as Chaudhari et al. 2017
(arXiv:1611.01838) saw in networks: 90 in (0, 1), 10 in (30, 60), in a fixed random rotation.
Published: 353.44676 before the first step; after 100 epochs of SGD with constant lr 0.015849 a test loss of
87.3975 (standard deviation between ten seeds 0.1690). `tests/test_workloads.py` reproduces both.

A trap: the published runs walk through the same minibatches in the same order in every epoch, so the last 104 of
the 1000 shuffled rows are never seen, and a momentum of 0.99 gains from the order. `same_order=False` shuffles
every epoch anew. Ten seeds here: 87.44 (standard deviation 0.25) in the same order, 87.39 (0.13) shuffled anew.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor, nn

from thalweg.lab.task import Task
from thalweg.workloads import stream

TRAINING_ROWS, TEST_ROWS, BATCH = 1000, 896, 128
STEPS_PER_EPOCH = TRAINING_ROWS // BATCH  # 7: the remainder is dropped


@functools.cache
def data() -> tuple[Tensor, Tensor, Tensor]:
    """The Hessian (100, 100), the training rows (1000, 100) and the test rows (896, 100), all float32."""
    numbers = np.random.RandomState(42)
    eigenvalues = np.concatenate([numbers.uniform(0, 1, 90), numbers.uniform(30, 60, 10)])
    rotation = _rotation(numbers, len(eigenvalues))
    training, test = (np.random.RandomState(seed).normal(0, 0.6, (1000, 100)) for seed in (42, 43))
    hessian = rotation.T @ np.diag(eigenvalues) @ rotation
    return tuple(torch.tensor(a, dtype=torch.float32) for a in (hessian, training, test[:TEST_ROWS]))  # type: ignore[return-value]


def _rotation(numbers: np.random.RandomState, n: int) -> np.ndarray:
    """A uniformly distributed rotation, built up one dimension after the other (Diaconis and Shahshahani 1987)."""
    angle = 2 * np.pi * numbers.uniform()
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    for size in range(3, n + 1):
        goal = numbers.normal(size=size)  # where the first axis goes, by a reflection
        mirror = np.eye(size)[0] - goal / np.linalg.norm(goal)
        mirror /= np.linalg.norm(mirror)
        larger = np.eye(size)
        larger[1:, 1:] = rotation
        rotation = larger - 2 * np.outer(mirror, mirror @ larger)
    return -rotation


class Quadratic(nn.Module):
    """The point itself: 100 coordinates that begin at 1, whatever the seed; the seed decides the data's order."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.ones(100))
        self.register_buffer("seed", torch.tensor(seed))  # so that models of two seeds differ

    def forward(self, x: Tensor) -> Tensor:
        """The loss of every row of x, (rows,)."""
        away = self.theta - x
        return 0.5 * ((away @ data()[0]) * away).sum(1)


def loss(model: nn.Module, x: Tensor) -> Tensor:
    """The mean loss of a batch of rows."""
    return model(x).mean()


def test_loss(model: nn.Module, x: Tensor) -> float:
    """The mean loss of held-out rows."""
    return model(x).mean().item()


def task(*, steps: int = 100 * STEPS_PER_EPOCH, same_order: bool = True) -> Task:
    """The task; 7 batches of 128 rows are an epoch, in an order that the seed decides."""
    _, rows, held_out = data()

    def train(step: int, seed: int) -> Tensor:
        epoch, batch = divmod(step, STEPS_PER_EPOCH)
        order = torch.randperm(TRAINING_ROWS, generator=stream(seed, 0 if same_order else epoch))
        return rows[order[BATCH * batch : BATCH * (batch + 1)]]

    return Task(
        name="quadratic_deep",
        model=Quadratic,
        train=train,
        loss=loss,
        validation=held_out.clone(),
        metric=test_loss,
        metric_name="test loss",
        mode="min",
        steps=steps,
        description="DeepOBS' stochastic quadratic in 100 dimensions, an eigenspectrum as of a network",
        licence="generated",
        source="DeepOBS 1.1 (Schneider, Balles and Hennig 2019)",
    )
