"""The one loop: it evaluates, counts, remembers the best, and stops.

A walk is asked for its next points and told what was found there (`loop.line`, `loop.trust`). Everything has a
leading axis of independent problems; one that is finished leaves, so that it costs nothing any more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from thalweg.minimize.arrays import Array, host, largest

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
        x, fun, grad: the best point: one that passed the test, else the lowest value seen.
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
    progress.x, progress.grad = _own(progress.x), _own(progress.grad)
    try:
        with np.errstate(all="ignore"):
            walking = walk(Counted(problem, progress), x, f, g)
        lowest, idle = np.stack([progress.fun, progress.norm]), np.zeros(count, dtype=int)
        while len(progress.members):
            _advance(problem, walking, progress, limits, lowest, idle, callback)
    except KeyboardInterrupt:
        progress.status[progress.members[progress.status[progress.members] < 0]] = INTERRUPTED
    return progress


def _advance(
    problem: Any, walking: Any, progress: Progress, limits: Limits, lowest: np.ndarray, idle: np.ndarray, callback: Any
) -> None:
    """One evaluation of every problem that still walks, and what follows from it."""
    members = progress.members
    with np.errstate(all="ignore"):
        x = walking.ask()
    f, g = problem.evaluate(x, members)
    progress.nfev[members] += 1
    with np.errstate(all="ignore"):
        f, norm, moved, stuck = walking.tell(x, f, g)
        done = moved & (walking_norm(walking, norm, f) <= limits.gtol)
    _remember(progress, members, x, f, g, norm, done, walking)
    progress.nit[members] += moved
    status = np.where(done, CONVERGED, np.where(stuck, STALLED, -1))
    better = (f < lowest[0, members]) | (norm < lowest[1, members])
    idle[members] = np.where(better, 0, idle[members] + 1)
    lowest[0, members] = np.fmin(f, lowest[0, members])
    lowest[1, members] = np.fmin(norm, lowest[1, members])
    going = status < 0
    status[going & (idle[members] >= limits.patience)] = STALLED
    status[going & (progress.nit[members] >= limits.maxiter)] = MAXITER
    status[going & (progress.nfev[members] >= limits.maxfun)] = MAXFUN
    if callback is not None and moved.any() and callback(progress):
        status[status < 0] = CALLBACK
    if (status >= 0).any():
        progress.status[members] = status
        rows = np.flatnonzero(status < 0)
        progress.members = members[rows]
        if len(rows):
            walking.keep(rows)


def walking_norm(walking: Any, norm: np.ndarray, f: np.ndarray) -> np.ndarray:
    """The gradient's largest entry where the walk now stands: at the trial, or at a lower point seen before."""
    if (walking.f == f).all():
        return norm
    (standing,) = host(largest(walking.g))
    return np.where(walking.f == f, norm, standing)


def _remember(
    progress: Progress, members: np.ndarray, x: Array, f: Any, g: Array, norm: np.ndarray, done: Any, walking: Any
) -> None:
    """Keep the best: the lowest value; of a problem that has converged, the point that passed the test."""
    best = np.isfinite(norm) & np.isfinite(f) & (f < progress.fun[members])
    if best.all() and not done.any() and len(members) == len(progress.fun):
        progress.x, progress.fun, progress.grad, progress.norm = x, f, g, norm
        return
    for rows, points, values, grads in ((best & ~done, x, f, g), (done, walking.x, walking.f, walking.g)):
        chosen = np.flatnonzero(rows)
        if len(chosen):
            to = members[chosen]
            progress.x, progress.grad = _own(progress.x), _own(progress.grad)
            progress.x[to], progress.grad[to] = points[chosen], grads[chosen]
            progress.fun = progress.fun.copy()
            progress.norm = progress.norm.copy()
            progress.fun[to] = values[chosen]
            (progress.norm[to],) = host(largest(grads[chosen]))


def _own(x: Array) -> Array:
    return x.copy() if isinstance(x, np.ndarray) else x.clone()
