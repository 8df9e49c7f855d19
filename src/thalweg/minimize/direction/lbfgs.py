"""L-BFGS: BFGS that remembers only its last m pairs, in 2 m n numbers.

One pair of the past gives H+ = V'HV + s s' with V = I - y s', where the pair is scaled to s'y = 1. All m of them
on a matrix H0 give the same in one piece,

    H = (I - Q'Y) H0 (I - Y'Q) + Q'Q,

where the rows of Y are the y and the rows of Q the s, each changed by V' of every later pair. So a product with H
is four products with Q and Y, for any number of problems; an empty place is zero and teaches nothing. The order of
the pairs does not matter there, so that a new one takes the place of the oldest.

What the pairs stand on, H0, is a diagonal that learns from every pair, too, so that unknowns of different
scale each get a step of their own size.
"""

from __future__ import annotations

from typing import Any

from thalweg.minimize.arrays import (
    beside,
    dot,
    matvec,
    namespace,
    outer,
    perhaps,
    root,
    surely,
    vecmat,
    where,
    with_row,
)
from thalweg.minimize.card import MethodCard
from thalweg.minimize.direction import Direction, Memory
from thalweg.minimize.direction.bfgs import curvature
from thalweg.minimize.direction.diagonal import updated


def product(memory: Memory, g: Any) -> Any:
    """H g."""
    Q, Y, H0 = memory["Q"], memory["Y"], memory["H0"]
    u = matvec(Q, g)
    r = H0 * (g - vecmat(u, Y))
    return r + vecmat(u - matvec(Y, r), Q)


def append(memory: Memory, s: Any, y: Any, diagonal: bool) -> Memory:
    """The memory with one more pair, the oldest forgotten; as it was where the pair is unsound."""
    sy, yy, sound = curvature(s, y)
    if not perhaps(sound):
        return memory
    Q, Y, H0, count = memory["Q"], memory["Y"], memory["H0"], memory["count"]
    fresh = count == 0
    alike = surely(sound) and not perhaps(fresh)  # as nearly always
    if not alike:
        sy, yy = where(sound, sy, 1), where(sound, yy, 1)
    if not (alike and diagonal):
        gamma = beside(sy / yy, H0) + 0 * H0
        H0 = where(beside(fresh, H0), gamma, H0) if diagonal else gamma
    length = beside(root(sy), s)
    s, y = s / length, y / length
    oldest = count % Q.shape[-2]
    new = {
        "Q": with_row(Q - outer(matvec(Q, y), s), oldest, s),  # V'q for every row q
        "Y": with_row(Y, oldest, y),
        "H0": updated(H0, s, y) if diagonal else H0,
        "count": count + 1,
    }
    if not alike:
        new = {name: where(beside(sound, value), value, memory[name]) for name, value in new.items()}
    return new


def limited(memory: int = 20, diagonal: bool = True) -> Direction:
    """L-BFGS with the last `memory` pairs on a learned diagonal, or on (s'y / y'y) I."""

    def start(g: Any) -> Memory:
        empty = namespace(g).stack([g * 0] * memory, -2)
        return {"Q": empty, "Y": empty, "H0": g * 0 + 1, "count": (dot(g, g) < 0) + 0}

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
