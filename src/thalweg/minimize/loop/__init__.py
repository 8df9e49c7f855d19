"""The one loop: it evaluates, counts, remembers the best, and stops.

A walk is asked for its next points and told what was found there (`loop.line`, `loop.trust`). Everything has a
leading axis of independent problems; one that is finished leaves, so that it costs nothing any more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from thalweg.minimize.arrays import Array, Told, epsilon, every, host, largest, replaced, some

CONVERGED, MAXITER, MAXFUN, STALLED, CALLBACK, INTERRUPTED = range(6)


@dataclass
class Limits:
    """When to stop.

    Attributes:
        gtol: converged when no entry of the gradient is larger.
        maxiter: at most so many accepted steps.
        maxfun: at most so many evaluations, each of value and gradient.
        patience: stop after so many accepted steps in which neither the value nor the gradient got any lower.
    """

    gtol: float
    maxiter: float
    maxfun: float
    patience: int


@dataclass
class Progress:
    """How far every problem has come; (B, ...) each.

    Attributes:
        x, fun, grad: the best point: one that passed the test, else the lowest value seen (of several that
            differ by rounding only, the one with the smallest gradient).
        norm: the largest entry of the gradient there.
        status: why it stopped; -1 while it goes on.
    """

    x: Array
    fun: np.ndarray
    grad: Array
    norm: np.ndarray
    nit: np.ndarray
    nfev: np.ndarray
    nhev: np.ndarray
    nhvp: np.ndarray
    status: np.ndarray
    members: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=int))


class Counted:
    """The problem as a walk sees it: of the rows that still walk, and every call counted."""

    def __init__(self, problem: Any, progress: Progress):
        self.problem, self.progress = problem, progress

    def hessian(self, x: Array, rows: Any) -> Array:
        """(k, n, n) at the points x (k, n) of these rows."""
        members = self.progress.members[rows]
        self.progress.nhev[members] += 1
        return self.problem.hessian(x, members)

    def product(self, x: Array, v: Array, rows: Any) -> Array:
        """(k, n): the Hessian at x times v."""
        members = self.progress.members[rows]
        self.progress.nhvp[members] += 1
        return self.problem.product(x, v, members)


def run(
    problem: Any, walk: Callable[..., Any], x: Array, limits: Limits, callback: Callable[[Progress], Any] | None
) -> Progress:
    """Walk every problem down until it converges or a limit is hit.

    Args:
        problem: has ``evaluate(x, members) -> (f, g)``, ``hessian`` and ``product``.
        walk: ``walk(counted, x, f, g)`` begins a walk.
        x: the starts, (B, n).
        limits: when to stop.
        callback: called after every round in which a problem moved; True stops all.

    Returns:
        The progress. A problem whose start is not finite has status -1.
    """
    count = len(x)
    f, g = problem.evaluate(x, np.arange(count))
    f, norm = host(f, largest(g))
    nit, nfev, nhev, nhvp = np.array([[0], [1], [0], [0]]).repeat(count, 1)
    progress = Progress(x, f.copy(), g, norm, nit, nfev, nhev, nhvp, np.full(count, -1))
    fine = np.isfinite(f) & np.isfinite(norm)
    progress.status[fine & (norm <= limits.gtol)] = CONVERGED
    members = progress.members = np.flatnonzero(fine & (progress.status < 0))
    if not len(members):
        return progress
    if len(members) < count:
        x, f, g = x[members], f[members], g[members]
    try:
        with np.errstate(all="ignore"):
            walking = walk(Counted(problem, progress), x, f, g)
        tiring = max(limits.patience // 4, 1)
        watch = Watch(progress, 10 * epsilon(x))
        while len(progress.members):
            members = progress.members
            with np.errstate(all="ignore"):
                x = walking.ask()
            f, g = problem.evaluate(x, members)
            with np.errstate(all="ignore"):
                told = walking.tell(x, f, g)
            at, moved = slice(None) if len(members) == count else members, told.moved
            progress.nfev[at] += 1
            progress.nit[at] += moved
            done = moved & (told.norm <= limits.gtol)
            watch.see(at, told, done)
            idle = watch.idle[at]
            stop = callback is not None and some(told.moved) and callback(progress)
            ended = done | told.stuck | (progress.nit[at] >= limits.maxiter) | (idle >= limits.patience)
            if limits.maxfun < np.inf:
                ended |= progress.nfev[at] >= limits.maxfun
            if stop or some(ended):
                status = np.select(
                    [done, progress.nit[at] >= limits.maxiter, progress.nfev[at] >= limits.maxfun, ended],
                    [CONVERGED, MAXITER, MAXFUN, STALLED],
                    CALLBACK if stop else -1,
                )
                progress.status[at] = status
                rows = np.flatnonzero(status < 0)
                progress.members = members[rows]
                if len(rows):
                    walking.keep(rows)
                idle, moved = idle[rows], moved[rows]
            if some(idle):
                tired = np.flatnonzero(moved & (idle > 0) & (idle % tiring == 0))
                if len(tired):
                    with np.errstate(all="ignore"):
                        walking.forget(tired)  # perhaps what was learned no longer holds here
    except KeyboardInterrupt:
        progress.status[progress.members] = INTERRUPTED
    return progress


class Watch:
    """Keeps the best of every problem, and counts how many steps ago it got any better.

    Attributes:
        lowest, flattest: the lowest value and the smallest gradient seen, (B,) each, not of one point.
        idle: steps since either got lower, (B,).
    """

    def __init__(self, progress: Progress, rounding: float):
        self.progress, self.rounding = progress, rounding
        self.lowest, self.flattest = progress.fun.copy(), progress.norm.copy()
        self.idle = np.zeros(len(progress.fun), dtype=int)

    def see(self, at: Any, told: Told, done: np.ndarray) -> None:
        """Take in what was told of these problems; `done` are those that passed the test."""
        progress, lowest = self.progress, self.lowest[at]
        better = told.f < progress.fun[at] - self.rounding * abs(lowest)
        if every(better):  # as nearly always
            self.idle[at] = 0
            self.lowest[at] = told.f
        else:
            lower = told.f < lowest
            self.idle[at] = np.where(lower | (told.norm < self.flattest[at]), 0, self.idle[at] + told.moved)
            self.lowest[at] = lowest = np.where(lower, told.f, lowest)
            same = told.f <= lowest + self.rounding * abs(lowest)  # of values that differ by rounding, the flattest
            better |= same & (told.norm < progress.norm[at]) | done
        self.flattest[at] = np.fmin(self.flattest[at], told.norm)
        if every(better) and len(better) == len(progress.fun):
            progress.x, progress.fun, progress.grad, progress.norm = told.x, told.f, told.g, told.norm
        elif some(better):
            rows = np.flatnonzero(better)
            to = progress.members[rows]
            progress.x = replaced(progress.x, to, told.x[rows])
            progress.grad = replaced(progress.grad, to, told.g[rows])
            progress.fun = replaced(progress.fun, to, told.f[rows])
            progress.norm = replaced(progress.norm, to, told.norm[rows])
