"""Walking along lines: a direction says which way, a search how far.

Every problem has one trial point out at a time. Those whose trial is accepted turn; the others shorten or
lengthen their step. So all advance together, whatever phase they are in.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any

import numpy as np

from thalweg.minimize.arrays import (
    Array,
    Line,
    Number,
    Rows,
    Told,
    beside,
    dot,
    each,
    epsilon,
    every,
    everyone,
    host,
    largest,
    loaded,
    placed,
    put,
    replaced,
    rows,
    saved,
    some,
    there,
    where,
)

KEPT = ("memory", "d", "step", "slope", "plain", "mean", "weight")
VECTORS, NUMBERS = ("x", "g", "d"), ("f", "step", "slope", "plain", "mean", "weight")  # new at every turn
ONE, INFINITE = np.float64(1), np.float64(np.inf)
NO = np.False_  # numpy takes Python's False for an array


def first_step(x: Array, f: Number, g: Array) -> Number:
    """How far along -g the first trial goes: a length that scales with x and with f.

    2 |f| / |g|^2 leads a parabola whose minimum is 0 to its bottom (Polyak); the length is kept between |x| / 100
    and 10 |x|. At x = 0 it stands alone, and where f = 0 too, the step has length 1.
    """
    length, size = np.sqrt(host(dot(g, g), dot(x, x)))
    wanted = 2 * abs(f) / length
    chosen = where(size > 0, np.clip(wanted, 0.01 * size, 10 * size), where(wanted > 0, wanted, ONE))
    return where(length > 0, chosen / length, ONE)


class LineWalk:
    """Problems on their way, each on a line.

    Args:
        direction, search: the two strategies.
        hessian: ``hessian(x, rows) -> (..., n, n)``, for directions that need it.
        x, f, g: where they stand: (..., n), (...) on the host, (..., n).
        first: ``first(x, f, g) -> (...)``, the first steps along -g.
    """

    def __init__(
        self,
        direction: Any,
        search: Any,
        hessian: Callable[[Array, Rows], Array],
        x: Array,
        f: Number,
        g: Array,
        first: Callable[..., Number] = first_step,
    ):
        self.direction, self.search, self.hessian = direction, search, hessian
        self.x, self.f, self.g = x, f, g
        self.ones = f * 0 + 1
        self.noise_unit = max(1e-6, 10 * epsilon(x))
        self.mean, self.weight = abs(f), self.ones
        self.memory = direction.start(g)
        self.d, self.step = -g, self.ones
        self.refining: dict[Any, Any] = {}  # the search of each problem that has one
        self.lowest: dict[Any, Any] = {}  # and the lowest point that it came to
        self.rough = self.ones < 0  # no Hessian was finite yet
        self.plain = self.ones > 0  # the direction is -g, with nothing left to forget
        if direction.hessian:
            self.memory["H"] = hessian(x, everyone(f))
            self.memory, self.d = direction.turn(self.memory, None, None, g, None)
            self.plain = ~self.plain
        (self.slope,) = host(dot(self.d, g))
        if direction.hessian:
            self.rough = np.isnan(self.slope)
        lost = ~(self.slope < 0)
        if some(lost):
            self.forget(rows(lost))
        if not direction.hessian:
            self.step = first(x, f, g)

    def ask(self) -> Array:
        """The trial points, (..., n)."""
        return self.x + beside(placed(self.step, self.x), self.x) * self.d

    def tell(self, x: Array, f: Number, g: Array) -> Told:
        """Take in what was found at the trial points."""
        f, slope, norm = host(f, dot(g, self.d), largest(g))
        at = Line(self.f, self.slope, self.noise_unit * self.mean)
        good = self.search.accept(at, self.step, f, slope) & (norm < np.inf)
        stuck = good & NO
        if not every(good):
            f = where(np.isfinite(f) & np.isfinite(norm), f, INFINITE)
            (change,) = host(largest(x - self.x))
            step, bent = self.step + 0, good & NO
            for i in each(rows(~good)):
                if f[i] < (self.lowest[i][1] if i in self.lowest else self.f[i]):
                    self.lowest[i] = (x[i], f[i], g[i], norm[i])
                # Where not a single number has changed the step is too short.
                further = self._next(i, at, float(f[i]), float(slope[i])) if change[i] != 0 else None
                if further is not None:
                    step = put(step, i, np.float64(further))
                    continue
                self.refining.pop(i, None)
                if i in self.lowest:  # the search failed, and yet there is a lower point: go there
                    found = zip((x, f, g, norm), self.lowest[i], strict=True)
                    x, f, g, norm = (replaced(value, i, lower) for value, lower in found)
                    good = put(good, i, np.True_)
                elif not self.plain[i]:
                    bent = put(bent, i, np.True_)
                else:
                    stuck = put(stuck, i, np.True_)
            self.step = step
            if some(bent):
                self.forget(rows(bent))
        if some(good):
            self._turn(good, x, f, g)
        return Told(x, f, g, norm, good, stuck)

    @property
    def hess_inv(self) -> Array | None:
        """The inverse Hessians (..., n, n) as far as they are known, if the direction learns them."""
        return self.memory["H"] if self.direction.learns else None

    def scale(self, factor: float) -> None:
        """Make the first trial so many times as long, before anything was tried."""
        self.step = self.step * factor

    def keep(self, which: np.ndarray, far: Any = None) -> LineWalk:
        """Go on with these problems only; `far` are they where x lies."""
        far = there(which, self.x) if far is None else far
        for name in VECTORS:
            setattr(self, name, getattr(self, name)[far])
        for name in (*NUMBERS, "ones", "rough"):
            setattr(self, name, getattr(self, name)[which])
        self.memory = {name: value[far] for name, value in self.memory.items()}
        self.refining, self.lowest = (
            {new: known[old] for new, old in enumerate(which) if old in known} for known in (self.refining, self.lowest)
        )
        return self

    def state(self) -> dict[str, Any]:
        """All that a walk between two line searches knows, for a state_dict."""
        return {name: saved(getattr(self, name)) for name in ("x", "f", *KEPT)}

    def restore(self, state: dict[str, Any]) -> None:
        """Know again what `state` said, at the same point."""
        for name in KEPT:
            setattr(self, name, loaded(state[name], getattr(self, name)))

    def _next(self, i: Any, at: Line, f: float, slope: float) -> float | None:
        """The next step of problem i, chosen by its search; None: it has given up."""
        try:
            if i in self.refining:
                return self.refining[i].send((f, slope))
            own = Line(float(at.f[i]), float(at.slope[i]), float(at.noise[i]))
            self.refining[i] = self.search.refine(own, float(self.step[i]), f, slope)
            return next(self.refining[i])
        except StopIteration:
            return None

    def _turn(self, good: Any, x: Array, f: Number, g: Array) -> None:
        """The problems whose trial is good move there and get a new direction."""
        whole, old = every(good), self
        which = everyone(f) if whole else rows(good)
        far = there(which, x)
        if not whole:
            x, f, g, old = x[far], f[which], g[far], copy(self).keep(which, far)
        s, memory = x - old.x, old.memory
        if self.direction.hessian:
            memory = memory | {"H": self.hessian(x, which)}
        memory, d = self.direction.turn(memory, s, g - old.g, g, old.d)
        slope, dd, gg = host(dot(d, g), dot(d, d), dot(g, g))
        if self.direction.hessian:
            self.rough = replaced(self.rough, which, old.rough & np.isnan(slope))
        falls = (slope * abs(slope) < -1e-30 * dd * gg) & (dd < np.inf)
        weight = 1 + 0.7 * old.weight
        mean = old.mean + (abs(f) - old.mean) / weight
        step = old.ones
        if not self.direction.unit:  # the same first-order change as the last step's
            step = old.step * np.minimum(where(slope < 0, old.slope / slope, step), 10)
        vectors, numbers = (x, g, d), (f, step, slope, falls & NO, mean, weight)
        if whole:
            self.x, self.g, self.d = vectors
            self.f, self.step, self.slope, self.plain, self.mean, self.weight = numbers
            self.memory, self.refining, self.lowest = memory, {}, {}
        else:
            for name, value in zip(VECTORS, vectors, strict=True):
                setattr(self, name, replaced(getattr(self, name), far, value))
            for name, value in zip(NUMBERS, numbers, strict=True):
                setattr(self, name, replaced(getattr(self, name), which, value))
            self.memory = {name: replaced(self.memory[name], far, value) for name, value in memory.items()}
            self._done_with(which)
        if every(falls):
            return
        lost = ~falls & (gg > 0)  # at the end there is nothing to walk for, and what was learned stays
        if some(lost):
            again = rows(lost)
            length = np.sqrt(host(dot(s, s))[0] / gg)
            self.forget(again if whole else which[again], length[again])

    def forget(self, which: Rows, step: Any = None) -> None:
        """Start anew along -g, at first as far as the last step went."""
        far = there(which, self.x)
        g, d = self.g[far], self.d[far]
        gg, dd = host(dot(g, g), dot(d, d))
        if step is None:
            step = self.step[which] * np.sqrt(dd / gg)
        step = where(np.isfinite(step) & (step > 0), step, ONE)
        begun = self.direction.start(g)
        self.memory = {name: replaced(self.memory[name], far, value) for name, value in begun.items()}
        self.d = replaced(self.d, far, -g)
        for name, value in {"slope": -gg, "step": step, "plain": step > 0}.items():
            setattr(self, name, replaced(getattr(self, name), which, value))
        self._done_with(which)

    def _done_with(self, which: Rows) -> None:
        """These searches are over."""
        for i in each(which):
            for known in (self.refining, self.lowest):
                known.pop(i, None)
