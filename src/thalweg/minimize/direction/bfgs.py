"""BFGS: learn the inverse Hessian from the gradient's changes.

After every step the matrix H is changed as little as possible so that it explains what was just seen: the
secant equation H y = s. Where the step shows that H was too small, all of it is enlarged first: BFGS by itself
is quick to lower what it has learned, and slow to raise it.
"""

from __future__ import annotations

from typing import Any

from thalweg.minimize.arrays import (
    beside,
    dot,
    epsilon,
    identity,
    matvec,
    namespace,
    outer,
    perhaps,
    root,
    surely,
    where,
)
from thalweg.minimize.card import MethodCard
from thalweg.minimize.direction import Direction, Memory


def start(g: Any) -> Memory:
    """The unit matrix, to be scaled by the first pair."""
    return {"H": identity(g), "fresh": dot(g, g) == dot(g, g)}


def curvature(s: Any, y: Any) -> tuple[Any, Any, Any]:
    """s'y, y'y, and whether s'y is positive beyond rounding: relative to |s||y|, never to a constant."""
    sy, yy = dot(s, y), dot(y, y)
    return sy, yy, sy > epsilon(s) * root(dot(s, s) * yy)


def updates(rescale: bool = True) -> Direction:
    """BFGS; with `rescale` the matrix is enlarged first where the last step shows that it was too small."""

    def turn(memory: Memory, s: Any, y: Any, g: Any, d: Any) -> tuple[Memory, Any]:
        """H + (1 + y'Hy / s'y) ss' / s'y - (Hy s' + s y'H) / s'y with c H for H, and d = -Hg."""
        sy, yy, sound = curvature(s, y)
        H, fresh = memory["H"], memory["fresh"]
        alike = surely(sound) and not perhaps(fresh)
        if not alike:
            sy = where(sound, sy, 1)
            # H0 = (s'y / y'y) I: Nocedal and Wright, equation 6.20
            H = H * beside(where(fresh & sound, sy / where(sound, yy, 1), 1), H)
        Hy = matvec(H, y)
        ratio = dot(y, Hy) / sy
        if rescale:  # c = max(1, s'Bs / s'y), where s = a d and B d = -g: no matrix B is needed
            c = dot(s, y - g) * root(dot(s, s) / dot(d, d)) / sy
            more = c > 1 if alike else sound & ~fresh & (c > 1)
            if perhaps(more):
                c = where(more, c, 1)
                H, Hy, ratio = H * beside(c, H), Hy * beside(c, Hy), ratio * c
        w = beside((1 + ratio) / 2 / sy, s) * s - Hy / beside(sy, Hy)
        if not alike:
            w = where(beside(sound, w), w, namespace(w).zeros_like(w))  # an unsound pair teaches nothing
        half = outer(s, w)
        added = half + half.swapaxes(-1, -2)
        added += H  # into an array of our own: one matrix less to allocate
        H = added
        return {"H": H, "fresh": fresh if alike else fresh & ~sound}, -matvec(H, g)

    return Direction(start, turn, True, card, learns=True)


card = MethodCard(
    title="BFGS",
    paper=(
        "Broyden, Fletcher, Goldfarb, Shanno 1970; Nocedal and Wright, Numerical Optimization, 2006, eq. 6.17; "
        "the factor c: Al-Baali, Comput. Optim. Appl. 9, 1998 (rescale=False: c = 1, as in the book)"
    ),
    formula="H+ = (I - s y'/y's) c H (I - y s'/y's) + s s'/y's,  c = max(1, s'Bs / s'y),  d = -H g",
    intuition=(
        "The change of the gradient along a step tells the curvature in that direction. BFGS remembers all of "
        "them in one matrix, which comes to point straight at the minimum as Newton's method would."
    ),
    strengths=["superlinear near the minimum from gradients alone", "forgiving of an inexact line search"],
    weaknesses=["a full matrix: n^2 memory and n^2 work per step"],
    when="Smooth problems of up to about a thousand unknowns.",
    when_not="More unknowns (use L-BFGS), or noise in the gradient.",
    cost="n^2 numbers, about 6 n^2 operations a step",
    summary="Learn the inverse Hessian from the gradient's changes, and walk where it points.",
    symbols={
        "H": "what is known of the inverse Hessian; H+ after the step",
        "B": "the inverse of H",
        "c": "1, or by how much H was too small along the step; 1 at the first step, too",
    },
    kin={
        "lbfgs": "remembers the last pairs (s, y) only, not a matrix",
        "broyden": "also chooses which update of its family, not only a factor",
        "newton": "is given the Hessian that BFGS has to learn",
        "cg": "with exact line searches on a quadratic it takes the same steps, with a few vectors of memory",
    },
)
bfgs = updates()
