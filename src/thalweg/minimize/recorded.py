"""A run of a minimizer with everything on record: each trial point, and what was learned from each step.

The walk is the loop's own, and a listener passes on what the two say to each other.

    >>> import torch
    >>> from thalweg.minimize.methods import METHODS
    >>> done = record(lambda x: (x**2).sum(), torch.tensor([3.0]).double(), METHODS["newton"](1), maxiter=5)
    >>> len(done.iterations), done.iterations[0].s
    (1, array([-3.]))
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from thalweg.minimize import minimize
from thalweg.minimize.direction import lbfgs, newton
from thalweg.minimize.loop.line import LineWalk
from thalweg.minimize.methods import Method
from thalweg.minimize.result import Result

WRITTEN = 16  # unknowns up to which L-BFGS' matrix, which is never made, is written down


@dataclass
class Trial:
    """One evaluation: where, the value found, whether the walk went there, and the search's own numbers.

    Along a line these are `a`, the step length, and `slope`, the derivative there; in a trust region `radius`,
    `length` of the step, the decrease that the model `foretold`, the decrease `gained`, their `ratio`, and where
    the Hessian is there `mu`, which is 0 inside the region.
    """

    p: np.ndarray
    f: float
    numbers: dict[str, float]
    accepted: bool = False


@dataclass
class Iteration:
    """From one point to the next.

    Attributes:
        p, f, g: where it begins, with value and gradient.
        d: the direction; in a trust region the last trial's step.
        plain: the direction is -g, because nothing is known, or nothing any more.
        known: what the method holds there: the Hessian `H`, as far as it was asked for.
        trials: every evaluation, in order.
        s, y: the step and the change of the gradient over it; None where no trial was accepted.
        learned: what it holds afterwards: the inverse Hessian `H` of quasi-Newton methods and the diagonal `H0` of
            L-BFGS, `beta` of conjugate gradients, the new `radius`.
        hessians, products: how many were asked for from its beginning to its end; the first of the run is the
            first iteration's, and the one at the point that an iteration arrives at is its own.
    """

    p: np.ndarray
    f: float
    g: np.ndarray
    d: np.ndarray
    plain: bool = False
    known: dict[str, Any] = field(default_factory=dict)
    trials: list[Trial] = field(default_factory=list)
    s: np.ndarray | None = None
    y: np.ndarray | None = None
    learned: dict[str, Any] = field(default_factory=dict)
    hessians: int = 0
    products: int = 0


@dataclass(frozen=True)
class Record:
    """All iterations, and what the run came to. The start itself is one evaluation more than the trials."""

    iterations: list[Iteration]
    result: Result


def record(fun: Callable[..., Any], x0: Any, method: Method, **limits: Any) -> Record:
    """Minimise with this method and keep everything.

    Args:
        fun, x0: as for `minimize`; one problem, on the CPU.
        method: one of ``METHODS[name](n)``, or any other.
        limits: gtol, maxiter, maxfun, patience.
    """
    iterations: list[Iteration] = []

    def begin(counted: Any, x: Any, f: Any, g: Any) -> _Listener:
        asked = _Asked(counted)
        return _Listener(method.begin(asked, x, f, g), asked, iterations, x, f, g)

    result = minimize(fun, x0, method=Method(method.name, begin, method.card), options=limits)
    if iterations and not iterations[-1].trials:
        iterations.pop()  # begun, but the run was over
    return Record(iterations, result)


class _Asked:
    """The second derivatives that a walk asks for."""

    def __init__(self, counted: Any):
        self.counted = counted
        self.H: np.ndarray | None = None
        self.hessians = self.products = 0

    def hessian(self, x: Any, rows: Any) -> Any:
        H = self.counted.hessian(x, rows)
        self.H, self.hessians = H.copy(), self.hessians + 1
        return H

    def product(self, x: Any, v: Any, rows: Any) -> Any:
        self.products += 1
        return self.counted.product(x, v, rows)


class _Listener:
    """Between a walk and the loop, for one problem; what it does not record it passes on."""

    def __init__(self, walk: Any, asked: _Asked, iterations: list[Iteration], x: Any, f: Any, g: Any):
        self.walk, self.asked, self.iterations = walk, asked, iterations
        self._begin(x, f, g)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.walk, name)

    def ask(self) -> Any:
        x, now, walk = self.walk.ask(), self.iterations[-1], self.walk
        if isinstance(walk, LineWalk):
            now.d, now.plain = walk.d.copy(), bool(walk.plain) and not walk.direction.hessian
            numbers = {"a": float(walk.step)}
        else:
            now.d = x - now.p
            radius, length = walk.radius, walk.length
            numbers = {"radius": radius, "length": length}
            if "H" in now.known:  # (H + mu I) s = -g
                s = now.d
                inside = length < (1 - 1e-5) * radius
                numbers["mu"] = 0.0 if inside else -(s @ (now.g + now.known["H"] @ s)) / (s @ s)
            numbers["foretold"] = walk.foretold
        now.trials.append(Trial(x.copy(), np.nan, {name: float(value) for name, value in numbers.items()}))
        return x

    def tell(self, x: Any, f: Any, g: Any) -> Any:
        now, trial = self.iterations[-1], self.iterations[-1].trials[-1]
        trial.f = float(f)
        if isinstance(self.walk, LineWalk):
            trial.numbers["slope"] = float(g @ now.d)
        else:
            gained = now.f - trial.f
            foretold = trial.numbers["foretold"]
            trial.numbers |= {"gained": gained, "ratio": gained / foretold if foretold else np.nan}
        told = self.walk.tell(x, f, g)
        now.hessians = self.asked.hessians - sum(each.hessians for each in self.iterations[:-1])
        now.products = self.asked.products - sum(each.products for each in self.iterations[:-1])
        if told.moved:
            taken = next(each for each in reversed(now.trials) if (each.p == told.x).all())
            taken.accepted = True
            now.s, now.y = told.x - now.p, told.g - now.g
            now.learned = self._learned(now, told.g)
            self._begin(told.x, told.f, told.g)
        elif not isinstance(self.walk, LineWalk):
            now.learned = {"radius": float(self.walk.radius)}
        return told

    def _begin(self, p: Any, f: Any, g: Any) -> None:
        known: dict[str, Any] = {}
        if self.asked.H is not None:
            known["H"] = self.asked.H
            if isinstance(self.walk, LineWalk):
                known["D"] = newton.factor(self.asked.H)[1]
        self.iterations.append(Iteration(p.copy(), float(f), g.copy(), -g, known=known))

    def _learned(self, now: Iteration, g: Any) -> dict[str, Any]:
        """What the walk holds, having moved to a point with this gradient."""
        if not isinstance(self.walk, LineWalk):
            return {"radius": float(self.walk.radius)}
        memory = self.walk.memory
        if "age" in memory:  # conjugate gradients: the new direction is beta d - D g
            D = memory.get("D", 1.0)
            return {"beta": float((self.walk.d + D * g) @ now.d / (now.d @ now.d))}
        learned: dict[str, Any] = {"H0": memory["H0"].copy()} if "H0" in memory else {}
        if self.walk.direction.learns:
            learned["H"] = memory["H"].copy()
        elif "H0" in memory and len(g) <= WRITTEN:
            learned["H"] = np.array([lbfgs.product(memory, unit) for unit in np.eye(len(g))]).T
        return learned
