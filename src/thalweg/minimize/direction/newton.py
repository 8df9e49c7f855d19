"""Newton's direction by a modified factorisation (Gill, Murray and Wright 1981).

The Hessian is factored as L D L'; where a pivot is not positive enough to keep the factors bounded, it is
raised. On a convex function nothing is changed, and the direction is Newton's.
"""

from __future__ import annotations

from typing import Any

from thalweg.minimize.arrays import beside, dot, epsilon, identity, namespace, where
from thalweg.minimize.card import MethodCard
from thalweg.minimize.direction import Direction, Memory


def start(g: Any) -> Memory:
    """Nothing is remembered: the Hessian is new at every point."""
    return {}


def turn(memory: Memory, s: Any, y: Any, g: Any, d: Any) -> tuple[Memory, Any]:
    """-(L D L')^-1 g, with the Hessian under ``memory["H"]``."""
    return {}, -solve(*factor(memory["H"]), g)


def factor(H: Any) -> tuple[Any, Any]:
    """L with a unit diagonal (..., n, n) and D (..., n) with L D L' = H + a diagonal that is 0 if H is definite."""
    xp, n = namespace(H), H.shape[-1]
    eye = identity(H[..., 0])
    on = xp.amax(abs(H * eye), (-2, -1))
    off = xp.amax(abs(H * (1 - eye)), (-2, -1))
    size = xp.maximum(on, off)
    delta = epsilon(H) * where(size > 0, size, 1 + 0 * size)
    bound = xp.maximum(xp.maximum(on, off / max((n * n - 1) ** 0.5, 1)), delta)
    C, L, D = H + 0, eye, H[..., 0] * 0
    for j in range(n):
        column = C[..., j + 1 :, j]
        theta = xp.amax(abs(column), -1) if j + 1 < n else 0 * delta
        pivot = xp.maximum(xp.maximum(abs(C[..., j, j]), theta * (theta / bound)), delta)
        D[..., j] = pivot
        L[..., j + 1 :, j] = column / beside(pivot, column)
        C[..., j + 1 :, j + 1 :] -= L[..., j + 1 :, j, None] * column[..., None, :]
    return L, D


def solve(L: Any, D: Any, b: Any) -> Any:
    """(L D L')^-1 b, (..., n)."""
    x = b + 0
    n = b.shape[-1]
    for i in range(1, n):
        x[..., i] -= dot(L[..., i, :i], x[..., :i])
    x = x / D
    for i in range(n - 2, -1, -1):
        x[..., i] -= dot(L[..., i + 1 :, i], x[..., i + 1 :])
    return x


card = MethodCard(
    title="Newton, modified factorisation",
    paper="Gill, Murray and Wright, Practical Optimization, 1981, section 4.4.2.2",
    formula="L D L' = H + E,  d = -(L D L')^-1 g",
    intuition="Newton's step where the function curves up, and a tamed one where it does not.",
    strengths=["one step on a convex quadratic", "no eigenvectors"],
    weaknesses=["near saddles the trust region is better"],
    when="Convex problems of up to some hundred unknowns.",
    when_not="Functions with much negative curvature: use newton.",
    cost="n^2 numbers, n^3 / 3 operations a step",
    summary="Newton's step, by a factorisation that is bent until it leads down, and a line search.",
    symbols={
        "H": "the Hessian",
        "L": "a lower triangle with ones on its diagonal",
        "D": "a diagonal, positive",
        "E": "what the diagonal of H was raised by; 0 where H is positive definite",
    },
    kin={
        "newton": "bounds the step by a ball, and uses negative curvature",
        "bfgs": "learns from gradients what is computed here",
    },
)
newton = Direction(start, turn, True, card, hessian=True)
