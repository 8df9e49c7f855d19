"""A diagonal that learns from every step what size a step has in each unknown.

It is the diagonal that BFGS' update of a diagonal matrix has. Unknowns of different scale are what it is for:
L-BFGS' pairs stand on it, and conjugate gradients walk in unknowns that are scaled by it.
"""

from __future__ import annotations

from typing import Any

from thalweg.minimize.arrays import beside, dot, epsilon, namespace, where


def updated(H0: Any, s: Any, y: Any) -> Any:
    """The diagonal H0 (..., n) of an inverse Hessian after one more sound pair, scaled to s'y = 1.

    Gilbert and Lemarechal, Math. Programming 45, 1989, equation 4.9, in terms of the inverse:
    diag(D + y y' - D s s'D / s'Ds)^-1 with D = (y'H0 y) H0^-1, which is Oren and Spedicato's scaling.
    """
    Hy, Bs = H0 * y, s / H0
    yHy, sBs = dot(y, Hy), dot(s, Bs)
    share = beside(yHy / where(sBs > 0, sBs, 1), s)
    yHy = beside(yHy, s)
    shrinks = yHy - share * (s * Bs) + y * Hy
    return H0 / namespace(s).maximum(shrinks, epsilon(s) * yHy)  # by less than that is rounding
