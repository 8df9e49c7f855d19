"""Schedules: how the learning rate moves over a run, as a torch scheduler that is stepped after every step.

>>> import torch
>>> opt = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
>>> scheduler = warmup_cosine(opt, steps=100)
>>> opt.param_groups[0]["lr"]  # the warm-up takes 5 steps: 1/5, 2/5, ... 5/5
0.2
"""

from __future__ import annotations

import math
from collections.abc import Callable

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from thalweg.signature import did_you_mean


def warmup_cosine(optimizer: Optimizer, steps: int, warmup: float = 0.05) -> LambdaLR:
    """Rise linearly over the first share of the steps, then fall to 0 along half a cosine.

    The warm-up takes ``w = max(1, round(warmup * steps))`` steps and begins at lr / w; step number w is the
    first at the full lr. Loshchilov and Hutter 2017 (arXiv:1608.03983) without restarts.

    Args:
        optimizer: any torch optimizer; the lr of each group is the peak.
        steps: length of the run in optimizer steps; afterwards lr is 0.
        warmup: share of the steps, in [0, 1]. Default 0.05.

    Raises:
        ValueError: steps is below 1 or warmup is no share.
    """
    _check_steps(steps)
    if not 0 <= warmup <= 1:
        raise ValueError(f"warmup is {warmup!r}; it must be a share of the steps, in [0, 1].")
    w = max(1, round(warmup * steps))

    def factor(step: int) -> float:
        if step < w:
            return (step + 1) / w
        if step >= steps:
            return 0.0
        return (1 + math.cos(math.pi * (step - w) / (steps - w))) / 2

    return LambdaLR(optimizer, factor)


def constant(optimizer: Optimizer, steps: int) -> LambdaLR:
    """Leave lr as it is; `steps` is taken so that every schedule is called alike."""
    _check_steps(steps)
    return LambdaLR(optimizer, lambda step: 1.0)


SCHEDULES: dict[str, Callable[..., LambdaLR]] = {"warmup_cosine": warmup_cosine, "constant": constant}


def find(name: str) -> Callable[..., LambdaLR]:
    """The schedule of that name.

    Raises:
        ValueError: there is none; says which there are.
    """
    if name not in SCHEDULES:
        raise ValueError(
            f"schedule is {name!r}; it must be one of {', '.join(SCHEDULES)}.{did_you_mean(str(name), SCHEDULES)}"
        )
    return SCHEDULES[name]


def _check_steps(steps: int) -> None:
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps is {steps!r}; it must be a whole number of optimizer steps, at least 1.")
