"""The trust region step by conjugate gradients: products with the Hessian only (Steihaug 1983, Toint 1981).

Conjugate gradients on H s = -g, stopped early where the accuracy is enough, at the boundary where the step
gets too long, and along a direction of negative curvature where one is found. The generator asks for its
products: ``Hd = yield d, going`` with going False where none is needed any more.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from thalweg.minimize.arrays import beside, dot, perhaps, root, some, where
from thalweg.minimize.card import MethodCard


def steihaug(g: Any, radius: Any, tolerance: Any, most: int) -> Generator[Any, Any, tuple[Any, Any]]:
    """The step (..., n) and the decrease it foretells (...).

    Args:
        g: the gradient, (..., n).
        radius: (...).
        tolerance: stop where the residual is shorter than this, (...).
        most: at most so many products.
    """
    s, Hs, r, d = 0 * g, 0 * g, g, -g
    rr = dot(r, r)
    going = rr > tolerance**2
    for _ in range(most):
        if not some(going):
            break
        Hd = yield d, going
        bend = dot(d, Hd)
        sound = bend > 0
        alpha = rr / where(sound, bend, 1)
        new = s + beside(alpha, d) * d
        leaves = going & ~(sound & (dot(new, new) < radius**2))
        reach = where(leaves, boundary(s, d, radius), alpha) if perhaps(leaves) else alpha
        step = where(going, reach, 0)
        step = beside(where(step == step, step, 0), d)
        s, Hs, r = s + step * d, Hs + step * Hd, r + step * Hd
        going = going & ~leaves
        new_rr = dot(r, r)
        going = going & (new_rr > tolerance**2)
        d = where(beside(going, d), beside(new_rr / where(rr > 0, rr, 1), d) * d - r, d)
        rr = new_rr
    return s, -dot(g, s) - dot(s, Hs) / 2


def boundary(s: Any, d: Any, radius: Any) -> Any:
    """How far along d from s the sphere is, (...)."""
    size = root(dot(d, d))
    size = where(size > 0, size, 1)
    along, room = dot(s, d) / size, radius**2 - dot(s, s)
    room = where(room > 0, room, 0)
    reach = root(along * along + room)
    # The larger root, without cancellation.
    return where(along > 0, room / where(along + reach > 0, along + reach, 1), reach - along) / size


card = MethodCard(
    title="Newton-CG, trust region",
    paper="Steihaug, SIAM J. Numer. Anal. 20, 1983; Toint 1981; Dembo and Steihaug 1983 (the stopping rule)",
    formula="conjugate gradients on H s = -g until |Hs + g| <= min(0.1, |g|^1/2) |g| or |s| = radius",
    intuition="Solve Newton's equation only as well as the step deserves: roughly far away, sharply at the end.",
    strengths=["second-order convergence without a matrix", "negative curvature is followed"],
    weaknesses=["products add up on badly conditioned problems"],
    when="Thousands of unknowns, smooth, products cheap by autograd.",
    when_not="Few unknowns: use newton.",
    cost="5 n numbers beside the products",
    summary="Newton's step from products with the Hessian only, as exact as the step deserves.",
    symbols={
        "H": "the Hessian, of which only products are taken",
        "s": "the step: the next point is p + s",
        "radius": "how far the parabola is trusted",
    },
    kin={
        "newton": "solves the same equation exactly, with the whole Hessian",
        "lbfgs": "needs gradients only",
        "cg": "the same idea on the function itself",
    },
)
