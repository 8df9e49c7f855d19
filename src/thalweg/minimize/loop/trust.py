"""Walking by a quadratic model: a model says which way, a trust region how far.

The Hessian is taken at accepted points only. Where it is not finite, a rough parabola stands in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from thalweg.minimize.arrays import Array, Told, dot, epsilon, host, largest, loaded, namespace, replaced, saved

Rows = Any


class TrustWalk:
    """B problems on their way, each in its own ball of trust.

    Args:
        model: makes steps: an object with ``start(x, g, rows)``, ``first(x, g)``, ``step(x, g, radius)``,
            ``take(rows, x, g)`` and ``keep(rows)``.
        judge: the radius rule.
        x, f, g: where they stand: (B, n), (B,) on the host, (B, n).
    """

    def __init__(self, model: Any, judge: Callable[..., Any], x: Array, f: np.ndarray, g: Array):
        self.model, self.judge = model, judge
        self.x, self.f, self.g = x, f, g
        self.eps = epsilon(x)
        self.radius = model.start(x, g)

    def ask(self) -> Array:
        """The trial points, (B, n)."""
        step, foretold = self.model.step(self.g, self.radius)
        self.trial = self.x + step
        foretold, slope, length = host(foretold, dot(self.g, step), dot(step, step))
        self.foretold, self.slope, self.length = foretold, slope, np.sqrt(length)
        return self.trial

    def tell(self, x: Array, f: Array, g: Array) -> Told:
        """Take in what was found at the trial points."""
        f, norm, size, change = host(f, largest(g), dot(self.x, self.x) ** 0.5, largest(x - self.x))
        f = np.where(np.isfinite(f) & np.isfinite(norm), f, np.inf)
        verdict = self.judge(self.f, f, self.foretold, self.slope, self.length, self.radius, self.eps)
        moved, self.radius = verdict.accepted & (change > 0), verdict.radius
        # Stuck where no number lies between this point and the trial, or any that the radius would still allow.
        stuck = ~moved & (~(self.radius > self.eps * size) | ~(self.foretold > 0) | (change == 0))
        if moved.all():
            self.x, self.f, self.g = x, f, g
            self.model.take(slice(None), x, g)
        elif moved.any():
            rows = np.flatnonzero(moved)
            self.x, self.g = replaced(self.x, rows, x[rows]), replaced(self.g, rows, g[rows])
            self.f = np.where(moved, f, self.f)
            self.model.take(rows, self.x[rows], self.g[rows])
        return Told(x, f, g, norm, moved, stuck)

    def scale(self, factor: float) -> None:
        """Make the first radius so many times as long, before anything was tried."""
        self.radius = self.radius * factor

    def state(self) -> dict[str, Any]:
        """All that a walk knows beside its point, for a state_dict."""
        return {"x": saved(self.x), "f": float(self.f[0]), "radius": saved(self.radius), **self.model.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Know again what `state` said, at the same point."""
        self.radius = loaded(state["radius"], self.radius)
        self.model.restore(state)

    def forget(self, rows: np.ndarray) -> None:
        """Nothing is remembered from one point to the next."""

    def keep(self, rows: np.ndarray) -> None:
        """Go on with these problems only."""
        for name in ("x", "f", "g", "radius"):
            setattr(self, name, getattr(self, name)[rows])
        self.model.keep(rows)


class ExactModel:
    """Steps from the whole Hessian: `prepare` once per point, `solve` once per radius.

    Args:
        formula: a module with ``prepare(H, g)``, ``solve(model, radius)`` and ``cauchy(model)``.
        hessian: ``hessian(x, rows) -> (len(rows), n, n)``.
    """

    def __init__(self, formula: Any, hessian: Callable[[Array, Rows], Array]):
        self.formula, self.hessian = formula, hessian

    def start(self, x: Array, g: Array) -> np.ndarray:
        """Prepare everywhere; the first radii (B,), from the gradient's length and the curvature along it."""
        self.known = self.formula.prepare(self._finite(x, g, slice(None)), g)
        return first_radius(*host(self.formula.cauchy(self.known), dot(x, x) ** 0.5))

    def step(self, g: Array, radius: np.ndarray) -> tuple[Array, Array]:
        """The steps (B, n) and what they promise (B,)."""
        return self.formula.solve(self.known, _like(radius, g))

    def take(self, rows: Rows, x: Array, g: Array) -> None:
        """New Hessians for those that moved."""
        new = self.formula.prepare(self._finite(x, g, rows), g)
        if isinstance(rows, slice):
            self.known = new
            return
        for name, value in new.items():
            self.known[name] = self.known[name] + 0
            self.known[name][rows] = value

    def keep(self, rows: np.ndarray) -> None:
        """Go on with these problems only."""
        self.known = {name: value[rows] for name, value in self.known.items()}

    def state(self) -> dict[str, Any]:
        """Nothing: the Hessian is taken anew."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Nothing to know again."""

    def _finite(self, x: Array, g: Array, rows: Rows) -> Array:
        """The Hessian; where it is not finite the unit matrix times |g| / |x|."""
        H = self.hessian(x, rows)
        xp = namespace(H)
        fine = xp.isfinite(H).all(-1).all(-1)
        if fine.all():
            return H
        size = dot(g, g) ** 0.5 / xp.maximum(dot(x, x) ** 0.5, 0 * g[:, 0] + 1e-3)
        rough = H * 0
        rough = xp.where(xp.isfinite(rough), rough, 0)
        for i in range(H.shape[-1]):
            rough[:, i, i] = size
        return xp.where(fine[:, None, None], H, rough)


class ProductModel:
    """Steps from products with the Hessian.

    A problem whose last step took more than n products is badly conditioned: its next steps are exact ones, from
    the whole Hessian, which takes just n.

    Args:
        formula: the generator ``steihaug(g, radius, tolerance, most)``, which asks for its products.
        exact: a module with ``prepare(H, g)`` and ``solve(model, radius)``.
        product: ``product(x, v, rows) -> (len(rows), n)``.
        largest: no whole Hessian above so many unknowns.
    """

    def __init__(self, formula: Any, exact: Any, product: Callable[[Array, Array, Rows], Array], largest: int = 500):
        self.formula, self.exact, self.product, self.largest = formula, exact, product, largest

    def start(self, x: Array, g: Array) -> np.ndarray:
        """The first radii, from the curvature along -g: one product each."""
        self.x = x
        self.slow = np.zeros(len(x), dtype=bool)
        bend, xx, gg = host(dot(g, self.product(x, g, slice(None))), dot(x, x), dot(g, g))
        self.length0 = np.sqrt(gg)
        with np.errstate(all="ignore"):
            cauchy = np.where(bend > 0, gg**1.5 / bend, np.inf)
        return first_radius(cauchy, np.sqrt(xx))

    def step(self, g: Array, radius: np.ndarray) -> tuple[Array, Array]:
        """The steps (B, n) and what they promise (B,)."""
        steps, foretold = 0 * g, 0 * g[:, 0]
        for method, which in ((self._truncated, ~self.slow), (self._whole, self.slow)):
            if which.all():
                return method(g, radius, slice(None))
            if which.any():
                rows = np.flatnonzero(which)
                some, promise = method(g[rows], radius[rows], rows)
                steps, foretold = replaced(steps, rows, some), replaced(foretold, rows, promise)
        return steps, foretold

    def _truncated(self, g: Array, radius: np.ndarray, rows: Rows) -> tuple[Array, Array]:
        x, (gg,) = self.x[rows], host(dot(g, g))
        members = np.arange(len(self.x))[rows]
        length, n = np.sqrt(gg), g.shape[-1]
        with np.errstate(all="ignore"):
            tolerance = np.minimum(0.1, np.sqrt(length / self.length0[rows])) * length
        asking = self.formula(g, _like(radius, g), _like(tolerance, g), 2 * n)
        answer, count = None, np.zeros(len(members))
        while True:
            try:
                v, going = asking.send(answer)
            except StopIteration as end:
                self.slow[members] = (count > n) & (n <= self.largest)
                return end.value
            go = np.flatnonzero(host(going)[0])
            count[go] += 1
            if len(go) == len(members):
                answer = self.product(x, v, rows)
            else:
                answer = replaced(0 * v, go, self.product(x[go], v[go], members[go]))

    def _whole(self, g: Array, radius: np.ndarray, rows: Rows) -> tuple[Array, Array]:
        x, n = self.x[rows], g.shape[-1]
        columns = []
        for i in range(n):
            unit = 0 * g
            unit[:, i] = 1
            columns.append(self.product(x, unit, rows))
        H = namespace(g).stack(columns, 1)
        fine = namespace(g).isfinite(H)
        H = namespace(g).where(fine, H, 0)
        return self.exact.solve(self.exact.prepare(H, g), _like(radius, g))

    def take(self, rows: Rows, x: Array, g: Array) -> None:
        """Those that moved stand elsewhere now."""
        self.x = x if isinstance(rows, slice) else replaced(self.x, rows, x)

    def keep(self, rows: np.ndarray) -> None:
        """Go on with these problems only."""
        self.x, self.length0, self.slow = self.x[rows], self.length0[rows], self.slow[rows]

    def state(self) -> dict[str, Any]:
        """The first gradient's length, and which problems are slow."""
        return {"length0": saved(self.length0), "slow": saved(self.slow)}

    def restore(self, state: dict[str, Any]) -> None:
        """Know both again."""
        self.length0, self.slow = loaded(state["length0"], self.length0), loaded(state["slow"], self.slow)


def first_radius(cauchy: np.ndarray, size: np.ndarray) -> np.ndarray:
    """The distance to the minimum along -g, but between a tenth of |x| and ten times |x|. (B,)."""
    with np.errstate(all="ignore"):
        near = np.where(np.isfinite(cauchy) & (cauchy > 0), cauchy, np.where(size > 0, size, 1.0))
        return np.where(size > 0, np.clip(near, 0.1 * size, 10 * size), near)


def _like(numbers: np.ndarray, x: Array) -> Array:
    xp = namespace(x)
    return numbers.astype(x.dtype) if xp is np else xp.from_numpy(numbers).to(x)
