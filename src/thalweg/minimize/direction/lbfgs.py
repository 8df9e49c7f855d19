"""L-BFGS: BFGS that remembers only its last m pairs, in 2 m n numbers.

The two loops over the pairs are written as products of small matrices, so that they are a handful of
operations for any number of problems. Each pair is kept scaled to s'y = 1; an empty place is zero and
teaches nothing.

What the pairs stand on, H0, is a diagonal that learns from every pair, too, so that unknowns of different
scale each get a step of their own size.
"""

from __future__ import annotations

from typing import Any

from thalweg.minimize.arrays import dot, matvec, namespace, surely, vecmat
from thalweg.minimize.card import MethodCard
from thalweg.minimize.direction import Direction, Memory
from thalweg.minimize.direction.bfgs import curvature
from thalweg.minimize.direction.diagonal import updated


def product(memory: Memory, g: Any) -> Any:
    """H g by the two loops: u the coefficients of the first, w those of the second."""
    S, Y, P = memory["S"], memory["Y"], memory["P"]
    u = matvec(P, matvec(S, g))  # P is the inverse of the triangle of s_i'y_j, j >= i
    r = memory["H0"] * (g - vecmat(u, Y))
    w = vecmat(u - matvec(Y, r), P)
    return r + vecmat(w, S)


def append(memory: Memory, s: Any, y: Any, diagonal: bool) -> Memory:
    """The memory with one more pair, the oldest forgotten; as it was where the pair is unsound."""
    S, Y, P, H0, fresh = (memory[name] for name in ("S", "Y", "P", "H0", "fresh"))
    xp = namespace(s)
    sy, yy, sound = curvature(s, y)
    sy = xp.where(sound, sy, 1)[:, None]
    root = sy**0.5
    s, y = s / root, y / root
    # The inverse of [[R, c], [0, 1]] is [[P, -Pc], [0, 1]]; dropping the oldest drops its row and column.
    newer = P[:, 1:, 1:]
    column = -matvec(newer, matvec(S[:, 1:], y))
    new_P = P * 0
    new_P[:, :-1, :-1] = newer
    new_P[:, :-1, -1] = column
    new_P[:, -1, -1] = 1
    new_S = xp.concatenate([S[:, 1:], s[:, None]], 1)
    new_Y = xp.concatenate([Y[:, 1:], y[:, None]], 1)
    gamma = sy / xp.where(sound, yy, 1)[:, None]
    new_H0 = updated(xp.where(fresh[:, None], gamma, H0), s, y) if diagonal else gamma + 0 * H0
    if not surely(sound):
        keep = sound[:, None, None]
        new_S, new_Y, new_P = xp.where(keep, new_S, S), xp.where(keep, new_Y, Y), xp.where(keep, new_P, P)
        new_H0 = xp.where(sound[:, None], new_H0, H0)
    return {"S": new_S, "Y": new_Y, "P": new_P, "H0": new_H0, "fresh": fresh & ~sound}


def limited(memory: int = 20, diagonal: bool = True) -> Direction:
    """L-BFGS with the last `memory` pairs on a learned diagonal, or on (s'y / y'y) I."""

    def start(g: Any) -> Memory:
        empty = g[:, None, :] * 0
        xp = namespace(g)
        S = xp.concatenate([empty] * memory, 1)
        P = xp.concatenate([xp.concatenate([empty[:, :, :1]] * memory, 1)] * memory, 2)
        for i in range(memory):
            P[:, i, i] = 1
        return {"S": S, "Y": S * 0, "P": P, "H0": g * 0 + 1, "fresh": dot(g, g) == dot(g, g)}

    def turn(known: Memory, s: Any, y: Any, g: Any, d: Any) -> tuple[Memory, Any]:
        known = append(known, s, y, diagonal)
        return known, -product(known, g)

    return Direction(start, turn, True, card)


card = MethodCard(
    title="L-BFGS",
    paper=(
        "Nocedal, Math. Comp. 35, 1980; Liu and Nocedal, Math. Programming 45, 1989; the diagonal H0: Gilbert and "
        "Lemarechal, Math. Programming 45, 1989 (diagonal=False: s'y / y'y times the unit matrix)"
    ),
    formula=(
        "d = -H g with H made of the last m pairs (s, y) on H0,  "
        "H0+ = diag(D + y y'/y's - D s s'D / s'Ds)^-1,  D = (y'H0 y/y's) H0^-1"
    ),
    intuition="The last few curvatures are the ones that matter where one stands; the rest need not be stored.",
    strengths=["2 m n numbers instead of n^2", "close to BFGS on most problems", "bears unknowns of different scale"],
    weaknesses=["only linear convergence", "forgets on badly conditioned problems"],
    when="Many unknowns, exact gradients.",
    when_not="Noise in the gradient; few unknowns, where BFGS is better.",
    cost="2 m n numbers, about 6 m n operations a step",
    summary="BFGS that remembers only its last m steps.",
    symbols={
        "H": "what the pairs say of the inverse Hessian; it is never written down",
        "H0": "a diagonal that every pair corrects; H0+ after the step, (s'y / y'y) I before the first correction",
        "D": "its inverse, scaled to what the last step has shown",
        "m": "how many pairs are kept (memory)",
    },
    kin={
        "bfgs": "remembers all steps, in a matrix",
        "cg": "remembers one step",
        "newton-cg": "takes products with the Hessian in place of remembered steps",
    },
)
lbfgs = limited()
