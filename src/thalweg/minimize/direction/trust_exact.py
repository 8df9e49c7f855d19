"""The trust region step, exactly: the minimum of a quadratic in a ball (More and Sorensen 1983).

One eigendecomposition per Hessian; then every radius costs a short scalar iteration. In the eigenbasis the
step is -c / (lambda + mu) with the mu >= 0 for which it has the length of the radius; in the hard case, where
the gradient has no part along the lowest eigenvector, that vector fills the length up.
"""

from __future__ import annotations

from typing import Any

from thalweg.minimize.arrays import dot, epsilon, matvec, namespace, vecmat
from thalweg.minimize.card import MethodCard


def prepare(H: Any, g: Any) -> dict[str, Any]:
    """Eigenvalues, eigenvectors and the gradient in their basis, once per Hessian (B, n, n)."""
    values, vectors = namespace(H).linalg.eigh((H + H.swapaxes(-1, -2)) / 2)
    return {"values": values, "vectors": vectors, "c": vecmat(g, vectors)}


def cauchy(model: dict[str, Any]) -> Any:
    """The length of the step to the model's minimum along -g; infinite where it falls for ever. (B,)."""
    xp, c = namespace(model["c"]), model["c"]
    bend, length = dot(c * model["values"], c), dot(c, c)
    return xp.where(bend > 0, length**1.5 / xp.where(bend > 0, bend, 1), float("inf"))


def solve(model: dict[str, Any], radius: Any, iterations: int = 60) -> tuple[Any, Any]:
    """The step of at most this radius that minimises the model, and the decrease it foretells.

    Args:
        model: what `prepare` returned.
        radius: (B,), on the device of the model.
        iterations: at most so many Newton steps on the secular equation; it takes three or four.

    Returns:
        The steps (B, n) and the decreases (B,).
    """
    values, c = model["values"], model["c"]
    xp, eps = namespace(c), epsilon(c)
    lowest = values[:, 0]
    size = xp.maximum(abs(lowest), abs(values[:, -1]))
    size = xp.where(size > 0, size, 1)
    length_c = dot(c, c) ** 0.5
    # mu lies where every lambda + mu is positive, and |s| <= |c| / (lowest + mu).
    floor = xp.where(lowest > 0, 0 * lowest, -lowest)
    low, high = floor, xp.maximum(floor, length_c / radius - lowest)
    mu = xp.where(lowest > eps * size, floor, floor + eps * size)
    inside = fixed = None
    for count in range(iterations):
        shifted = values + mu[:, None]
        s = c / shifted
        length = dot(s, s) ** 0.5
        if inside is None:
            # Where the first, smallest mu already gives a short step it is Newton's (mu = 0) or the hard case.
            inside = fixed = length <= radius
        fixed = fixed | (abs(length - radius) <= 1e-8 * radius)
        if fixed.all():
            break
        low, high = xp.where(length > radius, mu, low), xp.where(length < radius, mu, high)
        slope = dot(s, s / shifted)
        newton = mu + (length - radius) / radius * length**2 / xp.where(slope > 0, slope, 1)
        sound = (newton > low) & (newton < high)
        mu = xp.where(fixed, mu, xp.where(sound, newton, (low * high) ** 0.5 if count % 3 == 2 else (low + high) / 2))
    s = -c / (values + mu[:, None])
    hard = inside & ~(lowest > eps * size)
    if hard.any():
        short = xp.where(hard, radius**2 - dot(s, s), 0)
        extra = xp.where(short > 0, short, 0) ** 0.5
        sign = xp.where(c[:, 0] > 0, -1.0, 1.0) * xp.where(c[:, 0] == c[:, 0], 1.0, 1.0)
        s = s + 0
        s[:, 0] = s[:, 0] + (sign * extra).astype(s.dtype) if xp.__name__ == "numpy" else s[:, 0] + sign * extra
    return matvec(model["vectors"], s), -dot(c, s) - dot(values * s, s) / 2


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
)
