"""How far: each file decides whether a trial point is good enough, and asks for another where it is not.

A line search is two functions. ``accept(at, step, f, slope)`` is the test, on numbers or on arrays of many
problems at once. ``refine(at, step, f, slope)`` is a generator for one problem whose trial was refused: it
yields the next step and is sent the value and the slope found there, ``f, slope = yield step``; where it
returns, it has given up. It evaluates nothing itself. Both are functions of a module, their constants bound by
`functools.partial`, so that an optimizer with its search can be pickled.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, NamedTuple

from thalweg.minimize.card import MethodCard

Refine = Generator[float, tuple[float, float], None]


class Search(NamedTuple):
    """A way to choose how far to walk.

    Attributes:
        accept: ``accept(at, step, f, slope) -> bool``, also elementwise.
        refine: ``refine(at, step, f, slope)`` yields steps.
        card: what stands beside it.
    """

    accept: Callable[..., Any]
    refine: Callable[..., Refine]
    card: MethodCard
