"""A diagonal that learns from every step what size a step has in each unknown.

It is the diagonal that BFGS' update of a diagonal matrix has. Unknowns of different scale are what it is for:
L-BFGS' pairs stand on it, and conjugate gradients walk in unknowns that are scaled by it.
"""

from __future__ import annotations

from typing import Any

from thalweg.minimize.arrays import dot, namespace


def updated(H0: Any, s: Any, y: Any) -> Any:
    """The diagonal H0 (B, n) of an inverse Hessian after one more sound pair, scaled to s'y = 1.

    Gilbert and Lemarechal, Math. Programming 45, 1989, equation 4.9, in terms of the inverse:
    diag(D + y y' - D s s'D / s'Ds)^-1 with D = (y'H0 y) H0^-1, which is Oren and Spedicato's scaling.
    """
    xp = namespace(s)
    yHy, sBs = dot(y, H0 * y)[:, None], dot(s, s / H0)[:, None]
    inverse = yHy / H0 + y * y - yHy * (s / H0) ** 2 / xp.where(sBs > 0, sBs, 1)
    fine = (inverse > 0) & xp.isfinite(inverse)  # always, but for rounding and unsound pairs
    return xp.where(fine, 1 / xp.where(fine, inverse, 1), H0)
