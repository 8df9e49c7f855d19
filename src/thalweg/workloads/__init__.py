"""Real training tasks that run on a laptop, on data that ships inside packages: nothing is downloaded.

One file each, with a function `task(**options) -> Task`; a file in this folder is a workload.

    >>> print(*names())
    breast_cancer digits mnist1d mnist5k poisson_pinn poisson_pinn_fixed quadratic_deep shakespeare
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.lab.task import Task, TaskError
from thalweg.signature import did_you_mean


def names() -> list[str]:
    """The names of all workloads, in alphabetical order."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str, **options: Any) -> Task:
    """The task of a workload; `options` go to its `task` function.

    Raises `TaskError` for a name that is none, `thalweg.extras.MissingExtra` where its data is not installed.

        >>> load("poisson_pinn").steps
        2000
    """
    known = names()
    if name not in known:
        raise TaskError(
            f"there is no workload {name!r}.{did_you_mean(name, known)} The workloads are {', '.join(known)}"
        )
    return importlib.import_module(f"{__name__}.{name}").task(**options)


# ---- what several workloads say


def stream(seed: int, step: int) -> torch.Generator:
    """The random stream of one training step of one run, so that a batch depends on nothing else."""
    return torch.Generator().manual_seed(1_000_003 * seed + step)


def cross_entropy(model: nn.Module, batch: Any) -> Tensor:
    """Mean cross-entropy in nats of a classifier on `batch = (x, y)`, y int64 classes."""
    x, y = batch
    return nn.functional.cross_entropy(model(x), y)


def accuracy(model: nn.Module, data: Any) -> float:
    """The share of the rows of `data = (x, y)` whose class a classifier finds."""
    x, y = data
    return (model(x).argmax(1) == y).double().mean().item()
