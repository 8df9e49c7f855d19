"""Which way: each file a formula that turns what was learned into the next direction.

A direction is pure. ``start(g)`` is its memory before the first step; ``turn(memory, s, y, g, d)`` takes the
last step s, the change of the gradient y, the new gradient g and the last direction d, and returns the new
memory and the new direction. All arrays have a leading axis of independent problems.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from thalweg.minimize.card import MethodCard

Memory = dict[str, Any]


class Direction(NamedTuple):
    """A way to choose where to walk.

    Attributes:
        start: ``start(g) -> memory``; the first direction is always -g.
        turn: ``turn(memory, s, y, g, d) -> (memory, d)``.
        unit: whether a step of 1 is its natural first trial (quasi-Newton), or whether the length of the
            last step is a better guess (conjugate gradients).
        card: what stands beside it.
        hessian: whether ``memory["H"]`` must hold the Hessian at the new point, (B, n, n); the first
            direction is then a turn, too, with s, y and d None.
        learns: whether ``memory["H"]`` is the inverse Hessian, (..., n, n), as far as it has learned it.
    """

    start: Callable[[Any], Memory]
    turn: Callable[[Memory, Any, Any, Any, Any], tuple[Memory, Any]]
    unit: bool
    card: MethodCard
    hessian: bool = False
    learns: bool = False
