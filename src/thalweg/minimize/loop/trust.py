"""Walking by a quadratic model: a model says which way, a trust region how far.

The Hessian is taken at accepted points only. Where it is not finite, a rough parabola stands in.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from thalweg.minimize.arrays import (
    Array,
    Number,
    Rows,
    Told,
    beside,
    dot,
    epsilon,
    every,
    everyone,
    host,
    identity,
    largest,
    loaded,
    merged,
    namespace,
    placed,
    placed_together,
    put,
    replaced,
    root,
    rows,
    saved,
    some,
    there,
    where,
)


def unit(size: Number) -> Number:
    """The power of two at or below a size; for what is 0 or not finite it is some power of two.

    A step is computed in units near the radius and the gradient: in float32 the square of 1e20 is no number. What is
    divided by a power of two is rounded as it would have been.
    """
    if isinstance(size, float):  # of one problem: Python's are ten times faster than numpy's
        return np.float64(math.ldexp(0.5, math.frexp(size)[1]))
    return np.ldexp(0.5, np.frexp(size)[1])


class TrustWalk:
    """Problems on their way, each in its own ball of trust.

    Args:
        model: makes steps: an object with ``start(x, g, slope)``, ``step(g, slope, radius, bend)``,
            ``take(rows, x, g)``, ``keep(rows)``, and `rough`: where a parabola stands in for a Hessian that is not
            finite.
        judge: the radius rule.
        x, f, g: where they stand: (..., n), (...) on the host, (..., n).
    """

    hess_inv = None  # nothing is learned

    def __init__(self, model: Any, judge: Callable[..., Any], x: Array, f: Number, g: Array):
        self.model, self.judge = model, judge
        self.x, self.f, self.g = x, f, g
        self.eps = epsilon(x)
        self.longest = 1e18 if self.eps > 1e-10 else 1e153  # the square of a longer step is no number of x's dtype
        (self.norm,) = host(largest(g))
        self.radius = model.start(x, g, unit(self.norm))
        self.rough = f == f  # until the Hessian is finite somewhere

    def ask(self) -> Array:
        """The trial points, (..., n)."""
        per_length, per_slope = unit(self.radius), unit(self.norm)
        radius, across, steep = placed_together(self.g, self.radius / per_length, per_length, per_slope)
        g = self.g / beside(steep, self.g)
        step, foretold = self.model.step(g, per_slope, radius, across / steep)
        self.trial = self.x + beside(across, step) * step
        foretold, slope, length = host(foretold, dot(g, step), dot(step, step))
        self.foretold, self.slope = per_length * per_slope * foretold, per_length * per_slope * slope
        self.length = per_length * np.sqrt(length)
        if some(self.rough):
            self.rough = self.rough & (self.model.rough | np.isnan(foretold))
        return self.trial

    def tell(self, x: Array, f: Number, g: Array) -> Told:
        """Take in what was found at the trial points."""
        f, norm, size, change = host(f, largest(g), root(dot(self.x, self.x)), largest(x - self.x))
        f = where(np.isfinite(f) & np.isfinite(norm), f, np.float64(np.inf))
        verdict = self.judge(self.f, f, self.foretold, self.slope, self.length, self.radius, self.eps)
        moved, self.radius = verdict.accepted & (change > 0), np.minimum(verdict.radius, self.longest)
        # Stuck where no number lies between this point and the trial, or any that the radius would still allow; or
        # where the longest of all steps leads down, so that the fall has no end.
        stuck = ~moved & (~(self.radius > self.eps * size) | ~(self.foretold > 0) | (change == 0))
        stuck = stuck | moved & (self.length >= 0.99 * self.longest)
        if some(moved):
            self.x, self.f, self.g = merged(moved, x, self.x), merged(moved, f, self.f), merged(moved, g, self.g)
            self.norm = merged(moved, norm, self.norm)
            which = everyone(f) if every(moved) else rows(moved)
            far = there(which, x)
            self.model.take(which, x[far], g[far])
        return Told(x, f, g, norm, moved, stuck)

    def scale(self, factor: float) -> None:
        """Make the first radius so many times as long, before anything was tried."""
        self.radius = self.radius * factor

    def state(self) -> dict[str, Any]:
        """All that a walk knows beside its point, for a state_dict."""
        return {"x": saved(self.x), "f": saved(self.f), "radius": saved(self.radius), **self.model.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Know again what `state` said, at the same point."""
        self.radius = loaded(state["radius"], self.radius)
        self.model.restore(state)

    def forget(self, which: Rows) -> None:
        """Nothing is remembered from one point to the next."""

    def keep(self, which: np.ndarray) -> None:
        """Go on with these problems only."""
        far = there(which, self.x)
        self.x, self.g, self.f, self.radius = self.x[far], self.g[far], self.f[which], self.radius[which]
        self.rough, self.norm = self.rough[which], self.norm[which]
        self.model.keep(which)


class ExactModel:
    """Steps from the whole Hessian: `prepare` once per point, `solve` once per radius.

    Args:
        formula: a module with ``prepare(H)``, ``solve(model, g, radius)`` and ``cauchy(model, g)``.
        hessian: ``hessian(x, rows) -> (..., n, n)``.
    """

    def __init__(self, formula: Any, hessian: Callable[[Array, Rows], Array]):
        self.formula, self.hessian = formula, hessian

    def start(self, x: Array, g: Array, slope: Number) -> Number:
        """Prepare everywhere; the first radii (...), from the gradient's length and the curvature along it.

        Args:
            x, g: where it begins, (..., n).
            slope: the unit of the gradient, (...) on the host.
        """
        self.rough = np.zeros(g.shape[:-1], dtype=bool)[()]
        self.known = self.formula.prepare(self._finite(x, g, everyone(g[..., 0])))
        cauchy, size = host(self.formula.cauchy(self.known, g / beside(placed(slope, g), g)), root(dot(x, x)))
        return first_radius(slope * cauchy, size)

    def step(self, g: Array, slope: Number, radius: Number, bend: Number) -> tuple[Array, Number]:
        """The steps (..., n) and what they promise (...), in units.

        Args:
            g: the gradient in its unit, (..., n).
            slope: that unit, (...) on the host.
            radius: in its unit, (...).
            bend: what a curvature is multiplied by to be one in these units, (...).
        """
        values = self.known["values"]
        return self.formula.solve({**self.known, "values": beside(bend, values) * values}, g, radius)

    def take(self, which: Rows, x: Array, g: Array) -> None:
        """New Hessians for those that moved."""
        new = self.formula.prepare(self._finite(x, g, which))
        far = there(which, x)
        whole = isinstance(which, slice)
        self.known = new if whole else {name: replaced(self.known[name], far, new[name]) for name in new}

    def keep(self, which: np.ndarray) -> None:
        """Go on with these problems only."""
        far = there(which, self.known["values"])
        self.rough = self.rough[which]
        self.known = {name: value[far] for name, value in self.known.items()}

    def state(self) -> dict[str, Any]:
        """Nothing: the Hessian is taken anew."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Nothing to know again."""

    def _finite(self, x: Array, g: Array, which: Rows) -> Array:
        """The Hessian; where it is not finite the unit matrix times |g| / |x|, at x = 0 times |g|."""
        H = self.hessian(x, which)
        fine = namespace(H).isfinite(H).all(-1).all(-1)
        whole = every(fine)
        if not whole or some(self.rough):
            self.rough = put(self.rough, which, host(fine)[0] == 0)
        if whole:
            return H
        length = root(dot(x, x))
        size = root(dot(g, g)) / where(length > 0, length, 1 + 0 * length)
        return where(beside(fine, H), H, beside(size, H) * identity(g))


class ProductModel:
    """Steps from products with the Hessian.

    A problem whose last step took more than n products is badly conditioned: its next steps are exact ones, from
    the whole Hessian, which takes just n.

    Args:
        formula: the generator ``steihaug(g, radius, tolerance, most)``, which asks for its products.
        exact: a module with ``prepare(H)`` and ``solve(model, g, radius)``.
        product: ``product(x, v, rows) -> (..., n)``.
        largest: no whole Hessian above so many unknowns.
    """

    rough = np.False_  # its products are not finite, and so is what it foretells

    def __init__(self, formula: Any, exact: Any, product: Callable[[Array, Array, Rows], Array], largest: int = 500):
        self.formula, self.exact, self.product, self.largest = formula, exact, product, largest

    def start(self, x: Array, g: Array, slope: Number) -> Number:
        """The first radii, from the curvature along -g: one product each. Slope is the unit of the gradient."""
        self.x, g = x, g / beside(placed(slope, g), g)
        bend, xx, gg = host(dot(g, self.product(x, g, everyone(g[..., 0]))), dot(x, x), dot(g, g))
        self.length0 = slope * np.sqrt(gg)
        self.slow = gg < 0  # none is
        return first_radius(where(bend > 0, self.length0 * gg / bend, np.inf), np.sqrt(xx))

    def step(self, g: Array, slope: Number, radius: Number, bend: Number) -> tuple[Array, Number]:
        """The steps (..., n) and what they promise (...), in units, as `ExactModel.step`."""
        steps, foretold = 0 * g, 0 * g[..., 0]
        for method, those in ((self._truncated, ~self.slow), (self._whole, self.slow)):
            if every(those):
                return method(g, slope, radius, bend, everyone(slope))
            if some(those):
                which = rows(those)
                far = there(which, g)
                some_steps, promise = method(g[far], slope[which], radius[far], bend[far], which)
                steps, foretold = replaced(steps, far, some_steps), replaced(foretold, far, promise)
        return steps, foretold

    def _truncated(self, g: Array, slope: Number, radius: Number, bend: Number, which: Rows) -> tuple[Array, Number]:
        x, (gg,) = self.x[there(which, g)], host(dot(g, g))
        numbers = which if isinstance(which, tuple) else np.arange(len(self.x))[which]
        length, n = np.sqrt(gg), g.shape[-1]
        tolerance = np.minimum(0.1, np.sqrt(slope * length / self.length0[which])) * length
        bend = beside(bend, g)
        asking = self.formula(g, radius, placed(tolerance, g), 2 * n)
        answer, count = None, 0 * gg
        while True:
            try:
                v, going = asking.send(answer)
            except StopIteration as end:
                self.slow = put(self.slow, numbers, (count > n) & (n <= self.largest))
                return end.value
            go = host(going)[0] > 0
            count = count + go
            if every(go):
                answer = self.product(x, v, which)
            else:
                go = rows(go)
                far = there(go, x)
                answer = replaced(0 * v, far, self.product(x[far], v[far], numbers[go]))
            answer = bend * answer

    def _whole(self, g: Array, slope: Number, radius: Number, bend: Number, which: Rows) -> tuple[Array, Number]:
        x, units = self.x[there(which, g)], identity(g)
        H = namespace(g).stack([self.product(x, units[..., i, :], which) for i in range(g.shape[-1])], -2)
        H = beside(bend, H) * H
        H = namespace(g).where(namespace(g).isfinite(H), H, 0)
        return self.exact.solve(self.exact.prepare(H), g, radius)

    def take(self, which: Rows, x: Array, g: Array) -> None:
        """Those that moved stand elsewhere now."""
        self.x = x if isinstance(which, slice) else replaced(self.x, there(which, x), x)

    def keep(self, which: np.ndarray) -> None:
        """Go on with these problems only."""
        self.x, self.length0, self.slow = self.x[there(which, self.x)], self.length0[which], self.slow[which]

    def state(self) -> dict[str, Any]:
        """The first gradient's length, and which problems are slow."""
        return {"length0": saved(self.length0), "slow": saved(self.slow)}

    def restore(self, state: dict[str, Any]) -> None:
        """Know both again."""
        self.length0, self.slow = loaded(state["length0"], self.length0), loaded(state["slow"], self.slow)


def first_radius(cauchy: Number, size: Number) -> Number:
    """The distance to the minimum along -g, but between a tenth of |x| and ten times |x|."""
    near = where(np.isfinite(cauchy) & (cauchy > 0), cauchy, where(size > 0, size, np.float64(1)))
    return where(size > 0, np.clip(near, 0.1 * size, 10 * size), near)
