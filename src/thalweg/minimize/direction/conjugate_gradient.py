"""Nonlinear conjugate gradients: d = -g + beta d, with beta from one of six famous formulas.

Each beta is a function of the new gradient g, its change y, and the last direction d; the old gradient is
g - y. On a quadratic with exact line searches all six are equal.

After n steps it begins anew, in unknowns that are scaled by a diagonal D learned on the way:
d = -D g + beta d. Between two such restarts D stays, without which the steps would not be conjugate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from thalweg.minimize.arrays import beside, dot, namespace, perhaps, root, where
from thalweg.minimize.card import MethodCard
from thalweg.minimize.direction import Direction, Memory
from thalweg.minimize.direction.bfgs import curvature
from thalweg.minimize.direction.diagonal import updated

Beta = Callable[[Any, Any, Any], Any]


def fletcher_reeves(g: Any, y: Any, d: Any) -> Any:
    """g'g / g_old'g_old (Fletcher and Reeves 1964)."""
    old = g - y
    return dot(g, g) / dot(old, old)


def polak_ribiere(g: Any, y: Any, d: Any) -> Any:
    """max(0, g'y / g_old'g_old) (Polak and Ribiere 1969; the plus by Powell 1984)."""
    old = g - y
    beta = dot(g, y) / dot(old, old)
    return where(beta > 0, beta, 0 * beta)


def hestenes_stiefel(g: Any, y: Any, d: Any) -> Any:
    """g'y / d'y (Hestenes and Stiefel 1952)."""
    return dot(g, y) / dot(d, y)


def dai_yuan(g: Any, y: Any, d: Any) -> Any:
    """g'g / d'y (Dai and Yuan 1999)."""
    return dot(g, g) / dot(d, y)


def hybrid(g: Any, y: Any, d: Any) -> Any:
    """max(0, min(HS, DY)) (Dai and Yuan 2001): HS where it is safe, DY where it is not."""
    gy, gg = dot(g, y), dot(g, g)
    beta = where(gy < gg, gy, gg) / dot(d, y)
    return where(beta > 0, beta, 0 * beta)


def hager_zhang(g: Any, y: Any, d: Any, eta: float = 0.4) -> Any:
    """(g'y - 2 d'g y'y / d'y) / d'y, at least eta d'g_old / d'd (Hager and Zhang 2005; the bound: 2013)."""
    dy = dot(d, y)
    beta = (dot(g, y) - 2 * dot(d, g) * dot(y, y) / dy) / dy
    bound = eta * dot(d, g - y) / dot(d, d)
    return where(beta > bound, beta, bound)


def conjugate_gradient(beta: Beta = hybrid, restart: int = 1, scaled: bool = True) -> Direction:
    """Conjugate gradients with this beta, begun anew every `restart` n steps; with `scaled` on a new diagonal."""

    def start(g: Any) -> Memory:
        age = dot(g, g) * 0
        if not scaled:
            return {"age": age}
        return {"age": age, "D": g * 0 + 1, "next": g * 0 + 1, "fresh": age == age}

    def turn(memory: Memory, s: Any, y: Any, g: Any, d: Any) -> tuple[Memory, Any]:
        xp = namespace(g)
        age, known, D = memory["age"] + 1, dict(memory), memory.get("D", 1)
        scale = root(D) if scaled else 1
        weight = beta(scale * g, scale * y, d / scale)  # of the scaled unknowns
        again = ~xp.isfinite(weight) | (age >= restart * max(g.shape[-1], 10))
        if scaled:
            known |= learned(memory, s, y)
            if perhaps(again):  # as long as the old one along g, so that the next step may be guessed from the last
                length = dot(g, D * g) / dot(g, known["next"] * g)
                D = where(beside(again & xp.isfinite(length), D), known["next"] * beside(length, D), D)
            known["D"] = D
        known["age"] = where(again, 0 * age, age)
        return known, beside(where(again, 0 * age, weight), d) * d - D * g

    return Direction(start, turn, False, card)


def learned(memory: Memory, s: Any, y: Any) -> Memory:
    """The next diagonal after one more pair, an unsound one left out."""
    sy, yy, sound = curvature(s, y)
    sy, old = where(sound, sy, 1 + 0 * yy), memory["next"]
    H0 = where(beside(memory["fresh"], old), beside(sy / where(sound, yy, 1), old) + 0 * old, old)
    length = beside(root(sy), s)
    new = updated(H0, s / length, y / length)
    return {"next": where(beside(sound, old), new, old), "fresh": memory["fresh"] & ~sound}


card = MethodCard(
    title="nonlinear conjugate gradients",
    paper=(
        "Hestenes and Stiefel 1952; Fletcher and Reeves 1964; Dai and Yuan, Ann. Oper. Res. 103, 2001 (the default); "
        "the diagonal: Gilbert and Lemarechal, Math. Programming 45, 1989"
    ),
    formula="d = -D g + beta d,  beta = max(0, min(g'D y, g'D g) / d'y)",
    intuition=(
        "Keep a share of the last direction, as much as is needed not to undo what was gained along it. On a "
        "quadratic of n unknowns with exact line searches n steps are enough."
    ),
    strengths=["a few vectors of memory", "the cheapest step of all"],
    weaknesses=["needs a more exact line search", "slow on badly conditioned problems", "few unknowns: use L-BFGS"],
    when="Very many unknowns and little memory.",
    when_not="Up to about a dozen unknowns, or where L-BFGS fits into memory.",
    cost="5 n numbers, about 30 n operations a step",
    summary="Step against the gradient, and keep a share of the last direction.",
    symbols={
        "beta": "the share of the last direction that is kept",
        "D": "a diagonal that scales the unknowns; 1 in the first n steps",
    },
    kin={
        "lbfgs": "remembers more than one step, and needs no sharp line search",
        "bfgs": "with exact line searches on a quadratic it takes the same steps, with a matrix of memory",
        "newton-cg": "conjugate gradients inside, to solve Newton's equation",
    },
)
cg = conjugate_gradient()
