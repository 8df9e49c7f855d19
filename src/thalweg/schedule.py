"""Schedules: how the learning rate moves over a run, as a torch scheduler that is stepped after every step.

>>> import torch
>>> opt = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
>>> scheduler = warmup_cosine(opt, steps=100)
>>> opt.param_groups[0]["lr"]  # the warm-up takes 5 steps: 1/5, 2/5, ... 5/5
0.2
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import partial

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
    return _warmed(optimizer, steps, warmup, lambda gone: (1 + math.cos(math.pi * gone)) / 2)


def warmup_linear(optimizer: Optimizer, steps: int, warmup: float = 0.05) -> LambdaLR:
    """Rise linearly over the first share of the steps, then fall to 0 along a straight line.

    Warm-up, arguments and errors are those of `warmup_cosine`. Linear to 0 is the schedule for which the last iterate
    has the best guarantees (Defazio et al. 2023, arXiv:2310.07831).
    """
    return _warmed(optimizer, steps, warmup, lambda gone: 1 - gone)


def wsd(optimizer: Optimizer, steps: int, warmup: float = 0.05, decay: float = 0.2) -> LambdaLR:
    """Warm-up, stable, decay: rise, stay at the full lr, and fall to 0 along a straight line at the end.

    Hu et al. 2024 (MiniCPM, arXiv:2404.06395); that a last fifth suffices: Haegele et al. 2024 (arXiv:2405.18392).

    Args:
        optimizer, steps, warmup: as for `warmup_cosine`.
        decay: share of the steps in which lr falls, in [0, 1 - warmup]. Default 0.2.

    Raises:
        ValueError: steps is below 1, warmup or decay is no share, or together they are more than the run.
    """
    if not 0 <= decay <= 1 - warmup:
        raise ValueError(f"decay is {decay!r}; it must be a share of the steps, from 0 to 1 - warmup.")
    stable = (1 - warmup - decay) / (1 - warmup) if warmup < 1 else 1.0
    return _warmed(optimizer, steps, warmup, lambda gone: 1.0 if gone < stable else (1 - gone) / (1 - stable))


def _warmed(optimizer: Optimizer, steps: int, warmup: float, fall: Callable[[float], float]) -> LambdaLR:
    """A linear warm-up, then `fall` of the share of the rest that is gone, then 0."""
    _check_steps(steps)
    if not 0 <= warmup <= 1:
        raise ValueError(f"warmup is {warmup!r}; it must be a share of the steps, in [0, 1].")
    w = max(1, round(warmup * steps))

    def factor(step: int) -> float:
        if step < w:
            return (step + 1) / w
        return 0.0 if step >= steps else fall((step - w) / (steps - w))

    return LambdaLR(optimizer, factor)


def constant(optimizer: Optimizer, steps: int) -> LambdaLR:
    """Leave lr as it is; `steps` is taken so that every schedule is called alike."""
    _check_steps(steps)
    return LambdaLR(optimizer, lambda step: 1.0)


SCHEDULES: dict[str, Callable[..., LambdaLR]] = {
    made.__name__: made for made in (warmup_cosine, warmup_linear, wsd, constant)
}


# Those that a search chooses among for every optimizer alike: three ways down after three lengths of warm-up, or none.
TUNED = "tuned"
CHOICES = (
    *(f"{name}(warmup={share})" for share in (0.02, 0.05, 0.1) for name in ("warmup_cosine", "warmup_linear", "wsd")),
    "constant",
)


def find(name: str) -> Callable[..., LambdaLR]:
    """The schedule of that name, or of a name with a warm-up of its own: `"wsd(warmup=0.1)"`.

    Raises:
        ValueError: there is none; says which there are.

    Example:
        >>> import torch
        >>> find("warmup_linear(warmup=0.1)")(torch.optim.SGD([torch.zeros(1)]), steps=100).get_last_lr()
        [0.0001]
    """
    base, warmup = called(str(name))
    if base not in SCHEDULES or (warmup and base == "constant"):
        raise ValueError(
            f"schedule is {name!r}; it must be one of {', '.join(SCHEDULES)}, or like warmup_cosine(warmup=0.1), "
            f"a share of the steps; in a comparison also {TUNED!r}.{did_you_mean(base, [*SCHEDULES, TUNED])}"
        )
    return partial(SCHEDULES[base], **warmup) if warmup else SCHEDULES[base]


def called(name: str) -> tuple[str, dict[str, float]]:
    """The function's name and its arguments beside optimizer and steps.

    >>> called("wsd(warmup=0.1)"), called("constant")
    (('wsd', {'warmup': 0.1}), ('constant', {}))
    """
    match = re.fullmatch(r"(\w+)\(warmup=(0?\.\d+|0|1)\)", name)
    return (match[1], {"warmup": float(match[2])}) if match else (name, {})


def _check_steps(steps: int) -> None:
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps is {steps!r}; it must be a whole number of optimizer steps, at least 1.")
