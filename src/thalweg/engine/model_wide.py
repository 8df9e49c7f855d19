"""Sums over the whole model, across parameter groups and engines: every part stops where it needs one.

A *run* is a generator. Where its rule says `total` it yields its own share of the sum and is sent the whole; what
it returns is its result. A rule without `total` returns at once. An engine that can run such rules gives a run
beside its ``step``; all of a model's runs ask for the same sums in the same order.

    >>> def share(x):
    ...     whole = yield x
    ...     return x / whole
    >>> alone([share(1.0), share(3.0)])
    [0.25, 0.75]
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import torch

Run = Generator[Any, Any, Any]


def gathered(runs: Sequence[Run]) -> Run:
    """Several runs as one: it asks when all of them have asked or ended, and returns the list of their results."""
    results: dict[int, Any] = {}
    whole = None
    while len(results) < len(runs):
        shares = []
        for i, run in enumerate(runs):
            if i not in results:
                try:
                    shares.append(run.send(whole))
                except StopIteration as end:
                    results[i] = end.value
        if shares:
            whole = yield _sum(shares)
    return [results[i] for i in range(len(runs))]


def alone(runs: Sequence[Run]) -> list[Any]:
    """The results of runs that are all of the model: what they share is the whole."""
    run, whole = gathered(runs), None
    while True:
        try:
            whole = run.send(whole)
        except StopIteration as end:
            return end.value


def _sum(shares: list[Any]) -> Any:
    """The sum, where there are tensors on the device of the first."""
    device = next((share.device for share in shares if isinstance(share, torch.Tensor)), None)
    return sum(share.to(device) if isinstance(share, torch.Tensor) else share for share in shares)
