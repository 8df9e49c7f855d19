"""What a card may claim about its rule: each claim a function that looks for a counter-example.

A claim answers None where it holds, else what it saw.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import torch

from thalweg.engine import eager
from thalweg.engine.cell import Cell, starts
from thalweg.signature import Rule, signature_of

Gradient = Callable[[torch.Tensor, int], torch.Tensor]
_TINY = 1e-300  # an eps that matters to nobody and still keeps 0 / 0 away


def _path(rule: Rule, gradient: Gradient, p: torch.Tensor, steps: int = 20, **settings: Any) -> list[torch.Tensor]:
    """Where the rule takes p, in float64, with the gradient a function of place and time."""
    signature = signature_of(rule)
    hyper = {**signature.defaults, **{k: v for k, v in settings.items() if k in signature.defaults}}
    slots, places = starts(rule, hyper, p), [p]
    for t in range(1, steps + 1):
        [(p, slots)] = eager.step(rule, [Cell(p, gradient(p, t), slots, t)], hyper)
        places.append(p)
    return places


def _noise(t: int, n: int = 4) -> torch.Tensor:
    return torch.randn(n, generator=torch.Generator().manual_seed(t), dtype=torch.float64)


def _apart(a: list[torch.Tensor], b: list[torch.Tensor]) -> float:
    return max(float((x - y).abs().max()) for x, y in zip(a, b, strict=True))


def scale_free(rule: Rule) -> str | None:
    """With eps = 0, gradients a thousand times as large make the same walk."""
    origin = torch.zeros(4, dtype=torch.float64)
    settings: dict[str, Any] = {"eps": _TINY, "weight_decay": 0.0}
    once = _path(rule, lambda _, t: _noise(t), origin, **settings)
    thousand = _path(rule, lambda _, t: 1000 * _noise(t), origin, **settings)
    gap = _apart(once, thousand) / float(once[-1].abs().max())
    return None if gap < 1e-9 else f"gradients times 1000 change the walk by {gap:.1e} of its length"


def rotation_equivariant(rule: Rule) -> str | None:
    """Turning the landscape turns the walk, and nothing else."""
    turn, _ = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    curvature = torch.tensor([1.0, 3.0, 10.0, 30.0], dtype=torch.float64)
    begin = torch.ones(4, dtype=torch.float64)
    straight = _path(rule, lambda p, t: curvature * p, begin, lr=0.01)
    turned = _path(rule, lambda p, t: turn @ (curvature * (turn.T @ p)), turn @ begin, lr=0.01)
    gap = _apart([turn @ p for p in straight], turned)
    return None if gap < 1e-12 else f"the turned walk is {gap:.1e} away from the turned landscape's"


def linear_in_gradient(rule: Rule) -> str | None:
    """Gradients twice as large make a walk twice as long."""
    origin = torch.zeros(4, dtype=torch.float64)
    once = _path(rule, lambda _, t: _noise(t), origin)
    twice = _path(rule, lambda _, t: 2 * _noise(t), origin)
    gap = _apart([2 * p for p in once], twice)
    return None if gap < 1e-14 else f"doubled gradients miss the doubled walk by {gap:.1e}"


def monotone_on_a_bowl(rule: Rule) -> str | None:
    """With lr below 2 / curvature every step lowers a quadratic bowl."""
    curvature = torch.tensor([1.0, 3.0, 10.0, 30.0], dtype=torch.float64)
    path = _path(rule, lambda p, t: curvature * p, torch.ones(4, dtype=torch.float64), lr=1.9 / 30)
    heights = [float((curvature * p * p).sum()) for p in path]
    rises = [t for t, (a, b) in enumerate(itertools.pairwise(heights), 1) if b >= a]
    return f"step {rises[0]} goes up" if rises else None


def first_step_is_lr(rule: Rule) -> str | None:
    """With eps = 0 the first step is exactly lr in every coordinate, whatever the gradient."""
    path = _path(rule, lambda _, t: _noise(t), torch.zeros(4, dtype=torch.float64), steps=1, lr=0.25, eps=_TINY)
    steps = path[1].abs().tolist()
    return None if all(math.isclose(s, 0.25, rel_tol=1e-12) for s in steps) else f"its first steps are {steps}"


def sign_only(rule: Rule) -> str | None:
    """Without decay every coordinate moves by exactly lr or not at all."""
    path = _path(rule, lambda _, t: _noise(t), torch.zeros(4, dtype=torch.float64), lr=0.25, weight_decay=0.0)
    steps = {float(s) for a, b in itertools.pairwise(path) for s in (b - a).abs()}
    return None if steps <= {0.0, 0.25} else f"with lr = 0.25 it makes steps of {max(steps - {0.0, 0.25}):g}"


def relative_step_is_lr(rule: Rule) -> str | None:
    """Every step is lr times the length of the tensor, whatever its gradients."""
    path = _path(rule, lambda _, t: 10.0**t * _noise(t), torch.ones(4, dtype=torch.float64), lr=0.1)
    shares = [float((b - a).norm() / a.norm()) for a, b in itertools.pairwise(path)]
    worst = max(shares, key=lambda share: abs(share - 0.1))
    return None if math.isclose(worst, 0.1, rel_tol=1e-12) else f"with lr = 0.1 a step is {worst:g} of the length"


CLAIMS: dict[str, Callable[[Rule], str | None]] = {
    "scale-free": scale_free,
    "rotation-equivariant": rotation_equivariant,
    "linear-in-gradient": linear_in_gradient,
    "monotone-on-a-bowl": monotone_on_a_bowl,
    "first-step-is-lr": first_step_is_lr,
    "sign-only": sign_only,
    "relative-step-is-lr": relative_step_is_lr,
}
