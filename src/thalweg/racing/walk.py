"""Many walks of one rule over a landscape, all in one batched call per step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from thalweg.engine import batched
from thalweg.landscape import Landscape
from thalweg.signature import Rule

Decay = Literal["constant", "sqrt"]


@dataclass(frozen=True)
class Walks:
    """K walks of T steps, in float64.

    Attributes:
        positions, gradients: (T + 1, K, ...); the gradient in row s is what step s + 1 sees.
        losses: (T + 1, K), of the landscape itself, not of a batch. corrections: (T + 1, K), how far the
            projection onto the bounds moved the point that the rule had found.
        slots: the state before each step, where it was kept.
    """

    positions: Tensor
    gradients: Tensor
    losses: Tensor
    corrections: Tensor
    slots: list[dict[str, Tensor]] = field(default_factory=list)


def factor(decay: Decay, t: int) -> float:
    """What lr is multiplied with at step t."""
    return 1 / math.sqrt(t) if decay == "sqrt" else 1.0


def walk(
    rule: Rule,
    landscape: Landscape,
    start: Tensor,
    steps: int,
    hyper: Mapping[str, Any],
    *,
    members: int,
    seed: int = 0,
    decay: Decay = "constant",
    keep_slots: bool = False,
) -> Walks:
    """Walk from `start` with every setting in `hyper` (one value or `members` of them each).

    Nothing is clipped or normalised; a walk that overflows goes on as inf and NaN. All see the same batches.
    """
    p = start.expand(members, *start.shape).clone()
    slots = batched.starts(rule, p, **hyper)
    lr = torch.as_tensor(hyper["lr"], dtype=torch.float64)
    loss, g = landscape.slope(p, 1, seed)
    positions, gradients, losses, corrections, states = [p], [g], [loss], [torch.zeros(members).double()], []
    for t in range(1, steps + 1):
        if keep_slots:
            states.append(slots)
        stepped, slots = batched.step(rule, p, g, slots, t=t, **{**hyper, "lr": lr * factor(decay, t)})
        assert isinstance(stepped, Tensor)
        p = landscape.project(stepped)
        loss, g = landscape.slope(p, t + 1, seed)
        positions.append(p)
        gradients.append(g)
        losses.append(loss)
        corrections.append((p - stepped).flatten(1).norm(dim=1))
    return Walks(*map(torch.stack, (positions, gradients, losses, corrections)), slots=states)
