"""The one loop: it evaluates, counts, remembers the best, and stops.

A walk is asked for its next points and told what was found there (`loop.line`, `loop.trust`). Everything has a
leading axis of independent problems; one that is finished leaves, so that it costs nothing any more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from thalweg.minimize.arrays import Array, Told, epsilon, host, largest, replaced

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
        lowest, idle = np.stack([progress.fun, progress.norm]), np.zeros(count, dtype=int)
        rounding = 10 * epsilon(x)
        while len(progress.members):
            members = progress.members
            with np.errstate(all="ignore"):
                x = walking.ask()
            f, g = problem.evaluate(x, members)
            with np.errstate(all="ignore"):
                told = walking.tell(x, f, g)
            at, moved = slice(None) if len(members) == count else members, told.moved
            progress.nfev[at] += 1
            progress.nit[at] += told.moved
            done = told.moved & (told.norm <= limits.gtol)
            low = lowest[:, at]
            idle[at] = np.where((told.f < low[0]) | (told.norm < low[1]), 0, idle[at] + told.moved)
            low = lowest[:, at] = np.fmin((told.f, told.norm), low)
            same = told.f <= low[0] + rounding * abs(low[0])  # of values that differ by rounding, the flattest
            better = (told.f < progress.fun[at] - rounding * abs(low[0])) | (same & (told.norm < progress.norm[at]))
            _remember(progress, told, better | done)
            stop = callback is not None and told.moved.any() and callback(progress)
            ended = done | told.stuck | (progress.nit[at] >= limits.maxiter) | (progress.nfev[at] >= limits.maxfun)
            ended = ended | (idle[at] >= limits.patience)
            if stop or ended.any():
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
                at, moved = progress.members, moved[rows]
            tired = np.flatnonzero(moved & (idle[at] > 0) & (idle[at] % tiring == 0))
            if len(tired) and len(progress.members):
                with np.errstate(all="ignore"):
                    walking.forget(tired)  # perhaps what was learned no longer holds here
    except KeyboardInterrupt:
        progress.status[progress.members] = INTERRUPTED
    return progress


def _remember(progress: Progress, told: Told, which: np.ndarray) -> None:
    """Keep the best: the lowest value; of a problem that has converged, the point that passed the test."""
    if which.all() and len(which) == len(progress.fun):
        progress.x, progress.fun, progress.grad, progress.norm = told.x, told.f, told.g, told.norm
    elif which.any():
        rows = np.flatnonzero(which)
        to = progress.members[rows]
        progress.x = replaced(progress.x, to, told.x[rows])
        progress.grad = replaced(progress.grad, to, told.g[rows])
        progress.fun = replaced(progress.fun, to, told.f[rows])
        progress.norm = replaced(progress.norm, to, told.norm[rows])
