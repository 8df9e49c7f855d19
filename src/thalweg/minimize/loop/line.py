"""Walking along lines: a direction says which way, a search how far.

Every problem of the batch has one trial point out at a time. Those whose trial is accepted turn; the others
shorten or lengthen their step. So all advance together, whatever phase they are in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from thalweg.minimize.arrays import (
    Array,
    Line,
    Told,
    beside,
    dot,
    epsilon,
    every,
    host,
    largest,
    loaded,
    replaced,
    saved,
    some,
)

KEPT = ("memory", "d", "step", "slope", "plain", "mean", "weight")
Rows = Any  # slice(None) or the numbers of some rows


def first_step(x: Array, f: np.ndarray, g: Array) -> np.ndarray:
    """How far along -g the first trial goes, (B,): a length that scales with x and with f.

    2 |f| / |g|^2 leads a parabola whose minimum is 0 to its bottom (Polyak); the length is kept between |x| / 100
    and 10 |x|. At x = 0 it stands alone, and where f = 0 too, the step has length 1.
    """
    length, size = np.sqrt(host(dot(g, g), dot(x, x)))
    with np.errstate(all="ignore"):
        wanted = 2 * abs(f) / length
        chosen = np.where(size > 0, np.clip(wanted, 0.01 * size, 10 * size), np.where(wanted > 0, wanted, 1.0))
        return np.where(length > 0, chosen / length, 1.0)


class LineWalk:
    """B problems on their way, each on a line.

    Args:
        direction, search: the two strategies.
        hessian: ``hessian(x, rows) -> (len(rows), n, n)``, for directions that need it.
        x, f, g: where they stand: (B, n), (B,) on the host, (B, n).
        first: ``first(x, f, g) -> (B,)``, the first steps along -g.
    """

    def __init__(
        self,
        direction: Any,
        search: Any,
        hessian: Callable[[Array, Rows], Array],
        x: Array,
        f: np.ndarray,
        g: Array,
        first: Callable[..., np.ndarray] = first_step,
    ):
        self.direction, self.search, self.hessian = direction, search, hessian
        self.x, self.f, self.g = x, f, g
        self.noise_unit = max(1e-6, 10 * epsilon(x))
        self.mean, self.weight = abs(f), np.ones(len(f))
        self.memory = direction.start(g)
        self.d, self.step = -g, np.ones(len(f))
        self.slope = np.zeros(len(f))
        self.refining: list[Any] = [None] * len(f)
        self.lowest: list[Any] = [None] * len(f)
        self.plain = np.ones(len(f), dtype=bool)  # the direction is -g, with nothing left to forget
        if direction.hessian:
            self.memory["H"] = hessian(x, slice(None))
            self.memory, self.d = direction.turn(self.memory, None, None, g, None)
            self.plain[:] = False
        (self.slope,) = host(dot(self.d, g))
        lost = ~(self.slope < 0)
        if lost.any():
            self.forget(np.flatnonzero(lost))
        if not direction.hessian:
            self.step = first(x, f, g)

    def ask(self) -> Array:
        """The trial points, (B, n)."""
        return self.x + beside(self.step, self.x) * self.d

    def tell(self, x: Array, f: Array, g: Array) -> Told:
        """Take in what was found at the trial points."""
        f, slope, norm = host(f, dot(g, self.d), largest(g))
        at = Line(self.f, self.slope, self.noise_unit * self.mean)
        if len(f) == 1:  # the same test on plain numbers costs less
            own = Line(*(float(value[0]) for value in at))
            good = self.search.accept(own, float(self.step[0]), float(f[0]), float(slope[0]))
            good = np.array([good and norm[0] < np.inf])
        else:
            good = self.search.accept(at, self.step, f, slope) & (norm < np.inf)
        stuck = np.zeros(len(f), dtype=bool)
        if every(good):
            self._turn(slice(None), x, f, g)
            return Told(x, f, g, norm, good, stuck)
        f = np.where(np.isfinite(f) & np.isfinite(norm), f, np.inf)
        for i in np.flatnonzero(~good):
            if f[i] < (self.lowest[i][0] if self.lowest[i] else self.f[i]):
                self.lowest[i] = (f[i], x[i], g[i], norm[i])
            still = not (x[i] != self.x[i]).any()  # the step is too short to change a single number
            if not still and self._next(i, at, float(f[i]), float(slope[i])):
                continue
            self.refining[i] = None
            if self.lowest[i] is not None:  # the search failed, and yet there is a lower point: go there
                f[i], norm[i], good[i] = self.lowest[i][0], self.lowest[i][3], True
                x, g = replaced(x, i, self.lowest[i][1]), replaced(g, i, self.lowest[i][2])
            elif not self.plain[i]:
                self.forget(np.array([i]))
            else:
                stuck[i] = True
        if some(good):
            self._turn(slice(None) if every(good) else np.flatnonzero(good), x, f, g)
        return Told(x, f, g, norm, good, stuck)

    def scale(self, factor: float) -> None:
        """Make the first trial so many times as long, before anything was tried."""
        self.step = self.step * factor

    def keep(self, rows: np.ndarray) -> None:
        """Go on with these problems only."""
        for name in ("x", "f", "g", "d", "step", "slope", "plain", "mean", "weight"):
            setattr(self, name, getattr(self, name)[rows])
        self.memory = {name: value[rows] for name, value in self.memory.items()}
        self.refining = [self.refining[i] for i in rows]
        self.lowest = [self.lowest[i] for i in rows]

    def state(self) -> dict[str, Any]:
        """All that a walk between two line searches knows, for a state_dict."""
        named = {name: saved(getattr(self, name)) for name in KEPT}
        return {"x": saved(self.x), "f": float(self.f[0]), **named}

    def restore(self, state: dict[str, Any]) -> None:
        """Know again what `state` said, at the same point."""
        for name in KEPT:
            setattr(self, name, loaded(state[name], getattr(self, name)))

    def _next(self, i: Any, at: Any, f: float, slope: float) -> bool:
        """Let the search of problem i choose its next step; False: it has given up."""
        try:
            if self.refining[i] is None:
                own = Line(float(at.f[i]), float(at.slope[i]), float(at.noise[i]))
                self.refining[i] = self.search.refine(own, float(self.step[i]), f, slope)
                self.step[i] = next(self.refining[i])
            else:
                self.step[i] = self.refining[i].send((f, slope))
        except StopIteration:
            return False
        return True

    def _turn(self, rows: Rows, x: Array, f: np.ndarray, g: Array) -> None:
        """These problems move to their trial points and get a new direction."""
        whole = isinstance(rows, slice)
        x, f, g = (x, f, g) if whole else (x[rows], f[rows], g[rows])
        d, step, slope = self.d[rows], self.step[rows], self.slope[rows]
        s = x - self.x[rows]
        memory = dict(self.memory) if whole else {name: value[rows] for name, value in self.memory.items()}
        if self.direction.hessian:
            memory["H"] = self.hessian(x, rows)
        memory, d = self.direction.turn(memory, s, g - self.g[rows], g, d)
        new_slope, dd, gg = host(dot(d, g), dot(d, d), dot(g, g))
        lost = ~((new_slope * abs(new_slope) < -1e-30 * dd * gg) & (dd < np.inf))
        weight = 1 + 0.7 * self.weight[rows]
        mean = self.mean[rows] + (abs(f) - self.mean[rows]) / weight
        if self.direction.unit:
            new_step = np.ones(len(f))
        else:  # the same first-order change as the last step's
            new_step = step * np.minimum(np.where(new_slope < 0, slope / np.where(new_slope < 0, new_slope, -1), 1), 10)
        if whole:
            self.x, self.f, self.g, self.d, self.step, self.slope = x, f, g, d, new_step, new_slope
            self.memory, self.mean, self.weight = memory, mean, weight
            self.refining, self.lowest = [None] * len(f), [None] * len(f)
            self.plain = lost & False
        else:
            self.x, self.g, self.d = replaced(self.x, rows, x), replaced(self.g, rows, g), replaced(self.d, rows, d)
            self.memory = {name: replaced(self.memory[name], rows, value) for name, value in memory.items()}
            self.f, self.slope, self.step = self.f.copy(), self.slope.copy(), self.step.copy()
            self.f[rows], self.slope[rows], self.step[rows] = f, new_slope, new_step
            self.mean[rows], self.weight[rows], self.plain[rows] = mean, weight, False
            for i in rows:
                self.refining[i] = self.lowest[i] = None
        lost &= gg > 0  # at the end there is nothing to walk for, and what was learned stays
        if some(lost):
            which = np.flatnonzero(lost)
            (ss,) = host(dot(s, s))
            with np.errstate(all="ignore"):
                length = np.sqrt(ss[which] / gg[which])
            self.forget(which if whole else rows[which], length)

    def forget(self, rows: np.ndarray, step: Any = None) -> None:
        """Start anew along -g, at first as far as the last step went."""
        g = self.g[rows]
        (gg,) = host(dot(g, g))
        if step is None:
            (dd,) = host(dot(self.d[rows], self.d[rows]))
            with np.errstate(all="ignore"):
                step = self.step[rows] * np.sqrt(dd / gg)
        step = np.where(np.isfinite(step) & (step > 0), step, 1.0)
        self.memory = {
            name: replaced(self.memory[name], rows, value) for name, value in self.direction.start(g).items()
        }
        self.d = replaced(self.d, rows, -g)
        self.slope, self.step = self.slope.copy(), self.step.copy()
        self.slope[rows], self.step[rows], self.plain[rows] = -gg, step, True
        for i in rows:
            self.refining[i] = self.lowest[i] = None
