"""What every reference gives: a step of its own, on float64 numpy arrays, with an lr that may change.

Nothing here or beside it imports thalweg: these are the other side of the comparison.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Array = np.ndarray
Step = Callable[[Array, Array, int, float], Array]  # parameter, gradient, t from 1, lr -> the new parameter


@dataclass
class Reference:
    """A step, and the lr that its source gives as the default (None: the source gives none)."""

    step: Step
    lr: float | None = None


def start() -> Array:
    return np.linspace(-2.0, 3.0, 6)


def slope(p: Array, t: int) -> Array:
    """Gradients of very different size, so that it shows where an eps stands."""
    size = 10.0 ** -np.arange(6.0)
    return size * (np.tanh(p - 1) + 0.5 * np.sin(np.arange(1, 7) * t))


def rate(base: float, t: int) -> float:
    """An lr that changes, so that it shows whether the velocity holds it."""
    return base * (1 + 0.5 * np.sin(0.7 * t))


def path(reference: Reference, lr: float, steps: int = 80) -> Array:
    """All parameters of a walk: (steps, 6)."""
    p, seen = start(), []
    for t in range(1, steps + 1):
        p = reference.step(p, slope(p, t), t, rate(lr, t))
        seen.append(np.array(p))
    return np.array(seen)
