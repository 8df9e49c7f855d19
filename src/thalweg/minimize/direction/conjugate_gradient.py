"""Nonlinear conjugate gradients: d = -g + beta d, with beta from one of six famous formulas.

Each beta is a function of the new gradient g, its change y, and the last direction d; the old gradient is
g - y. On a quadratic with exact line searches all six are equal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from thalweg.minimize.arrays import dot, namespace
from thalweg.minimize.card import MethodCard
from thalweg.minimize.direction import Direction, Memory

Beta = Callable[[Any, Any, Any], Any]


def fletcher_reeves(g: Any, y: Any, d: Any) -> Any:
    """g'g / g_old'g_old (Fletcher and Reeves 1964)."""
    old = g - y
    return dot(g, g) / dot(old, old)


def polak_ribiere(g: Any, y: Any, d: Any) -> Any:
    """max(0, g'y / g_old'g_old) (Polak and Ribiere 1969; the plus by Powell 1984)."""
    old = g - y
    beta = dot(g, y) / dot(old, old)
    return namespace(g).where(beta > 0, beta, 0)


def hestenes_stiefel(g: Any, y: Any, d: Any) -> Any:
    """g'y / d'y (Hestenes and Stiefel 1952)."""
    return dot(g, y) / dot(d, y)


def dai_yuan(g: Any, y: Any, d: Any) -> Any:
    """g'g / d'y (Dai and Yuan 1999)."""
    return dot(g, g) / dot(d, y)


def hybrid(g: Any, y: Any, d: Any) -> Any:
    """max(0, min(HS, DY)) (Dai and Yuan 2001): HS where it is safe, DY where it is not."""
    dy, least = dot(d, y), namespace(g).minimum(dot(g, y), dot(g, g))
    beta = least / dy
    return namespace(g).where(beta > 0, beta, 0)


def hager_zhang(g: Any, y: Any, d: Any, eta: float = 0.4) -> Any:
    """(g'y - 2 d'g y'y / d'y) / d'y, at least eta d'g_old / d'd (Hager and Zhang 2005; the bound: 2013)."""
    dy = dot(d, y)
    beta = (dot(g, y) - 2 * dot(d, g) * dot(y, y) / dy) / dy
    bound = eta * dot(d, g - y) / dot(d, d)
    return namespace(g).where(beta > bound, beta, bound)


def conjugate_gradient(beta: Beta = hybrid, restart: int = 6) -> Direction:
    """Conjugate gradients with this beta, back to -g every `restart` n steps."""

    def start(g: Any) -> Memory:
        return {"age": dot(g, g) * 0}

    def turn(memory: Memory, s: Any, y: Any, g: Any, d: Any) -> tuple[Memory, Any]:
        xp = namespace(g)
        age = memory["age"] + 1
        weight = beta(g, y, d)
        again = ~xp.isfinite(weight) | (age >= restart * g.shape[-1])
        return {"age": xp.where(again, 0, age)}, xp.where(again, 0, weight)[:, None] * d - g

    return Direction(start, turn, False, card)


card = MethodCard(
    title="nonlinear conjugate gradients",
    paper="Hestenes and Stiefel 1952; Fletcher and Reeves 1964; Dai and Yuan, Ann. Oper. Res. 103, 2001 (the default)",
    formula="d = -g + beta d,  beta = max(0, min(g'y, g'g) / d'y)",
    intuition=(
        "Keep a share of the last direction, as much as is needed not to undo what was gained along it. On a "
        "quadratic of n unknowns with exact line searches n steps are enough."
    ),
    strengths=["three vectors of memory", "the cheapest step of all"],
    weaknesses=["needs a more exact line search", "slow on badly conditioned problems", "few unknowns: use L-BFGS"],
    when="Very many unknowns and little memory.",
    when_not="Up to about a dozen unknowns, or where L-BFGS fits into memory.",
    cost="3 n numbers, about 10 n operations a step",
    summary="Step against the gradient, and keep a share of the last direction.",
    symbols={"beta": "the share of the last direction that is kept"},
    kin={
        "lbfgs": "remembers more than one step, and needs no sharp line search",
        "bfgs": "with exact line searches on a quadratic it takes the same steps, with a matrix of memory",
        "newton-cg": "conjugate gradients inside, to solve Newton's equation",
    },
)
cg = conjugate_gradient()
