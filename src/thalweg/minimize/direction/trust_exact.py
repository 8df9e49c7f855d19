"""The trust region step, exactly: the minimum of a quadratic in a ball (More and Sorensen 1983).

One eigendecomposition per Hessian; then every radius costs a short scalar iteration. In the eigenbasis the
step is -c / (lambda + mu) with the mu >= 0 for which it has the length of the radius; in the hard case, where
the gradient has no part along the lowest eigenvector, that vector fills the length up.
"""

from __future__ import annotations

from typing import Any

from thalweg.minimize.arrays import beside, dot, eigh, epsilon, every, matvec, namespace, root, some, vecmat, where
from thalweg.minimize.card import MethodCard


def prepare(H: Any) -> dict[str, Any]:
    """Eigenvalues and eigenvectors, once per Hessian (..., n, n)."""
    values, vectors = eigh(H / 2 + H.swapaxes(-1, -2) / 2)
    return {"values": values, "vectors": vectors}


def cauchy(model: dict[str, Any], g: Any) -> Any:
    """The length of the step to the model's minimum along -g; infinite where it falls for ever. (...)."""
    c = vecmat(g, model["vectors"])
    bend, length = dot(c * model["values"], c), dot(c, c)
    return where(bend > 0, length * root(length) / where(bend > 0, bend, 1), bend * 0 + float("inf"))


def solve(model: dict[str, Any], g: Any, radius: Any, iterations: int = 60, exactness: float = 1e-6) -> tuple[Any, Any]:
    """The step of at most this radius that minimises the model, and the decrease it foretells.

    The unknown is t = lambda_1 + mu, the distance from the pole, so that nothing cancels where mu is almost
    -lambda_1. From the left of the answer Newton's iteration on 1 / |s| = 1 / radius is monotone.

    Args:
        model: what `prepare` returned.
        g: the gradient, (..., n).
        radius: (...), on the device of the model.
        iterations: at most so many steps; it takes three or four.
        exactness: how far, relatively, the length may be from the radius.

    Returns:
        The steps (..., n) and the decreases (...).
    """
    values, c = model["values"], vecmat(g, model["vectors"])
    xp, eps = namespace(c), epsilon(c)
    lowest = values[..., 0]
    gaps = values - beside(lowest, values)
    size = xp.maximum(abs(lowest), abs(values[..., -1]))
    # Below the floor is mu < 0, or rounding where lambda_1 <= 0.
    floor = xp.maximum(lowest, eps * eps * where(size > 0, size, 1 + 0 * size))
    t = low = xp.maximum(abs(c[..., 0]) / radius, floor)  # the first part alone is as long as the radius here
    high = xp.maximum(root(dot(c, c)) / radius, low)  # |s| <= |c| / t
    found = None
    for _ in range(iterations):
        shifted = gaps + beside(t, gaps)
        s = c / shifted
        length = root(dot(s, s))
        if found is None:  # short even at the smallest t: Newton's own step, or the hard case
            found = (t <= floor) & (length <= radius)
        found = found | (abs(length - radius) <= exactness * radius)
        if every(found):
            break
        low, high = where(length > radius, t, low), where(length < radius, t, high)
        bend = dot(s, s / shifted)
        newton = t + (length - radius) / radius * length**2 / where(bend > 0, bend, 1)
        sound = (newton > low) & (newton < high)
        t = where(found, t, where(sound, newton, root(low * high)))
    s = -c / (gaps + beside(t, gaps))
    room = radius**2 - dot(s, s)
    hard = (t <= floor) & (lowest <= 0) & (room > 0)
    if some(hard):  # (H + mu I) v = 0 for the first eigenvector v: it can fill the ball
        along = s[..., 0] + where(c[..., 0] > 0, -1, 1) * root(where(hard, room, 0 * room))
        s = xp.concatenate([along[..., None], s[..., 1:]], -1)
    # All terms are positive: the model's decrease without cancellation.
    return matvec(model["vectors"], s), (dot(gaps + beside(t, gaps), s * s) + (t - lowest) * dot(s, s)) / 2


card = MethodCard(
    title="Newton, exact trust region",
    paper="More and Sorensen, SIAM J. Sci. Stat. Comput. 4, 1983; Conn, Gould and Toint 2000, chapter 7",
    formula="(H + mu I) s = -g,  mu >= 0,  H + mu I >= 0,  mu (radius - |s|) = 0",
    intuition="Walk to the lowest point of the parabola that fits here, but only as far as it can be trusted.",
    strengths=["the fewest iterations of all", "walks away from saddles and maxima"],
    weaknesses=["a Hessian and n^3 work per step"],
    when="Up to some hundred unknowns with exact second derivatives.",
    when_not="Thousands of unknowns: use newton-cg.",
    cost="n^2 numbers, one eigendecomposition a step",
    summary="Walk to the lowest point of the parabola that fits here, as far as it can be trusted.",
    symbols={
        "H": "the Hessian",
        "mu": "what is added to every curvature so that the step fits into the ball; 0 inside it",
        "s": "the step: the next point is p + s",
        "radius": "how far the parabola is trusted",
    },
    kin={
        "newton-cg": "solves the same equation with products only",
        "newton-line": "a factorisation and a line search in place of the ball",
        "bfgs": "learns from gradients what is computed here",
    },
)
