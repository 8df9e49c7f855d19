"""The one loop: it evaluates, counts, remembers the best, and stops.

A walk is asked for its next points and told what was found there (`loop.line`, `loop.trust`). One problem is
told in points (n,) and scalars, many with a leading axis; one of many that is finished leaves, so that it costs
nothing any more.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any

import numpy as np

from thalweg.minimize.arrays import (
    Array,
    Number,
    Rows,
    Told,
    epsilon,
    every,
    host,
    identity,
    largest,
    merged,
    put,
    replaced,
    rows,
    some,
    there,
    where,
)

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
    """How far problems have come.

    Attributes:
        x, fun, grad: the best point: one that passed the test, else the lowest value seen (of several that
            differ by rounding only, the one with the smallest gradient).
        norm: the largest entry of the gradient there.
        nit, nfev, nhev, nhvp: accepted steps, evaluations, Hessians, products with the Hessian.
        status: why it stopped; -1 while it goes on.
        lowest, flattest: the lowest value and the smallest gradient seen, not of one point.
        idle: steps since either got lower.
        rough: 1 where the method asked for Hessians and none was finite, else 0.
        members: which of all problems these are.
        hess_inv: the inverse Hessians of those that are finished, (..., n, n), if the method learns them.
    """

    x: Array
    fun: Number
    grad: Array
    norm: Number
    nit: Number
    nfev: Number
    nhev: np.ndarray
    nhvp: np.ndarray
    status: Number
    lowest: Number
    flattest: Number
    idle: Number
    rough: Number
    members: Rows
    hess_inv: Array | None = None

    def fields(self) -> dict[str, Any]:
        """All that is known of each problem while it goes on, by name."""
        return {name: value for name, value in vars(self).items() if name != "hess_inv"}

    def of(self, which: Rows) -> Progress:
        """The progress of some of these problems."""
        return Progress(**{name: value[which] for name, value in self.fields().items()})

    def put(self, part: Progress) -> Progress:
        """What is known of some of these problems, written among all."""
        if part is not self:
            for name in self.fields().keys() - {"members"}:
                getattr(self, name)[part.members] = getattr(part, name)
        return self

    def learn(self, part: Progress, matrices: Array | None) -> None:
        """Keep what a walk has learned of those of a part that are finished."""
        if matrices is None or isinstance(part.members, tuple):
            self.hess_inv = matrices
        elif len(matrices) == len(part.members):  # else interrupted while others left
            known, gone = self.hess_inv, rows(part.status >= 0)
            known = identity(self.x) if known is None else known
            self.hess_inv = put(known, there(part.members[gone], self.x), matrices[there(gone, self.x)])

    def see(self, told: Told, done: Any, rounding: float) -> None:
        """Take in what was told; `done` are those that passed the test."""
        self.nfev = self.nfev + 1
        self.nit = self.nit + told.moved
        better = told.f < self.fun - rounding * abs(self.lowest)
        flatter = told.norm < self.flattest
        self.flattest = where(flatter, told.norm, self.flattest)
        if every(better):  # as nearly always
            self.idle, self.lowest = self.idle * 0, told.f
            self.x, self.fun, self.grad, self.norm = told[:4]
            return
        lower = told.f < self.lowest
        idle = self.idle + told.moved
        self.idle = where(lower | flatter, idle * 0, idle)
        self.lowest = where(lower, told.f, self.lowest)
        same = told.f <= self.lowest + rounding * abs(self.lowest)  # they differ by rounding: the flattest
        better = better | same & (told.norm < self.norm) | done
        if some(better):
            which = rows(better)
            far = there(which, told.x)
            self.x, self.grad = replaced(self.x, far, told.x[far]), replaced(self.grad, far, told.g[far])
            self.fun, self.norm = merged(better, told.f, self.fun), merged(better, told.norm, self.norm)


class Counted:
    """The problem as a walk sees it: of the rows that still walk, and every call counted."""

    def __init__(self, problem: Any, progress: Progress):
        self.problem, self.progress = problem, progress

    def hessian(self, x: Array, which: Rows) -> Array:
        """(..., n, n) at the points x (..., n) of these rows."""
        self.progress.nhev[which] += 1
        return self.problem.hessian(x, self._members(which))

    def product(self, x: Array, v: Array, which: Rows) -> Array:
        """(..., n): the Hessian at x times v."""
        self.progress.nhvp[which] += 1
        return self.problem.product(x, v, self._members(which))

    def _members(self, which: Rows) -> Rows:
        return which if isinstance(which, tuple) else self.progress.members[which]


def run(
    problem: Any, walk: Callable[..., Any], x: Array, limits: Limits, callback: Callable[[Progress], Any] | None
) -> Progress:
    """Walk every problem down until it converges or a limit is hit.

    Args:
        problem: has ``evaluate(x, members) -> (f, g)``, ``hessian`` and ``product``.
        walk: ``walk(counted, x, f, g)`` begins a walk.
        x: the start (n,), or the starts (B, n).
        limits: when to stop.
        callback: called after every round in which a problem moved; True stops all.

    Returns:
        The progress. A problem whose start is not finite has status -1.
    """
    members = () if x.ndim == 1 else np.arange(len(x))
    f, g = problem.evaluate(x, members)
    f, norm = host(f, largest(g))
    fine = np.isfinite(f) & np.isfinite(norm)
    none = np.zeros(f.shape, dtype=int)
    status = none - 1
    for reason, met in ((MAXFUN, limits.maxfun <= 1), (MAXITER, limits.maxiter < 1), (CONVERGED, norm <= limits.gtol)):
        status = where(fine & met, none + reason, status)
    whole = Progress(x, f, g, norm, none, none + 1, none.copy(), none.copy(), status, f, norm, none, none, members)
    going = fine & (status < 0)
    if not some(going):
        return whole
    now = whole
    if f.ndim:
        whole = Progress(**{name: value + 0 for name, value in whole.fields().items()})  # to be written into
        now = whole.of(rows(going))
    counted = Counted(problem, now)
    tiring, rounding = max(limits.patience // 4, 1), 10 * epsilon(x)
    maxiter, maxfun = np.float64(limits.maxiter), np.float64(limits.maxfun)  # a counter is slow beside Python's float
    users = copy_context().run  # numpy's warnings are silent here, in the user's functions as he has set them
    walking: Any = None
    try:
        with np.errstate(all="ignore"):
            walking = walk(counted, now.x, now.fun, now.grad)
            while True:
                x = walking.ask()
                f, g = users(problem.evaluate, x, now.members)
                told = walking.tell(x, f, g)
                moved = told.moved
                done, stop = moved & (told.norm <= limits.gtol), False
                now.see(told, done, rounding)
                if callback is not None and some(moved):
                    stop = users(callback, whole.put(now))
                long, dear = now.nit >= maxiter, now.nfev >= maxfun
                ended = done | told.stuck | long | dear | (now.idle >= limits.patience)
                if stop or some(ended):
                    if stop:
                        now.status = now.status * 0 + CALLBACK
                    flat = ended & (now.norm <= limits.gtol)  # the best point may be one that the walk did not go to
                    for reason, met in ((STALLED, ended), (MAXFUN, dear), (MAXITER, long), (CONVERGED, done | flat)):
                        now.status = where(met, reason, now.status)
                    now.rough = walking.rough
                    whole.put(now).learn(now, walking.hess_inv)
                    left = np.flatnonzero(now.status < 0)
                    if not len(left):
                        return whole
                    walking.keep(left)
                    moved, now = moved[left], now.of(left)
                    counted.progress = now
                if some(now.idle > 0):
                    tired = moved & (now.idle > 0) & (now.idle % tiring == 0)
                    if some(tired):
                        walking.forget(rows(tired))  # perhaps what was learned no longer holds here
    except KeyboardInterrupt:
        now.status = now.status * 0 + INTERRUPTED
        if walking is not None:
            whole.learn(now, walking.hess_inv)
    return whole.put(now)
