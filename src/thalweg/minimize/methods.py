"""The methods by name: each puts a direction and a search, or a model and a trust region, together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

from thalweg.minimize.card import MethodCard
from thalweg.minimize.direction import Direction, broyden, lbfgs, newton, trust_cg, trust_exact
from thalweg.minimize.direction import bfgs as bfgs_file
from thalweg.minimize.direction.conjugate_gradient import Beta, conjugate_gradient, hybrid
from thalweg.minimize.loop.line import LineWalk
from thalweg.minimize.loop.trust import ExactModel, ProductModel, TrustWalk
from thalweg.minimize.search import Search, armijo, hager_zhang, trust_region, wolfe
from thalweg.signature import did_you_mean

LARGEST_MATRIX = 5000  # unknowns: BFGS keeps n^2 numbers, 200 MB of float64 here
MOST_NUMBERS = 500_000_000  # of the matrices of a batch together, 4 GB of float64


@dataclass(frozen=True)
class Method:
    """A way to minimise: how a walk begins, and what stands beside it.

    Attributes:
        name, begin, card: its name, how a walk begins, what is known about it.
        history: how many pairs it remembers, if it does.
        learns: whether its walks learn the inverse Hessian.
        dense: whether it keeps n^2 numbers.
    """

    name: str
    begin: Callable[..., Any]
    card: MethodCard
    history: int | None = None
    learns: bool = False
    dense: bool = False


def refuse_large(method: Method, n: int, count: int, names: tuple[str, str, str]) -> None:
    """Refuse matrices that would fill the memory, before the function is called for the first time.

    Args:
        method: the method.
        n, count: the unknowns of a problem, and how many problems there are.
        names: what holds the unknowns, who keeps the matrix, and what to use in its place.
    """
    if not method.dense or (n <= LARGEST_MATRIX and count * n**2 <= MOST_NUMBERS):
        return
    holder, keeper, other = names
    many, each = (f"{count} times {n}", "of each problem") if count > 1 else (f"{n}", "of them")
    raise ValueError(f"{holder} {many} numbers and {keeper} keeps n^2 {each}; use {other}.")


def along_lines(name: str, direction: Direction, search: Search | str) -> Method:
    """A method that walks along lines: any direction with any search."""
    search = named(search)

    def begin(counted: Any, x: Any, f: Any, g: Any) -> LineWalk:
        return LineWalk(direction, search, counted.hessian, x, f, g)

    dense = direction.learns or direction.hessian
    return Method(name, begin, direction.card, learns=direction.learns, dense=dense)


def named(search: Search | str) -> Search:
    """The search of this name, or the search itself."""
    if isinstance(search, Search):
        return search
    if not isinstance(search, str):
        raise TypeError(f"search is {search!r}; it must be one of {', '.join(SEARCHES)}, or a Search.")
    if search not in SEARCHES:
        near = did_you_mean(search, SEARCHES)
        raise ValueError(f"search is {search!r}; it must be one of {', '.join(SEARCHES)}.{near}")
    return SEARCHES[search]


def whole(name: str, value: Any, least: int) -> int:
    """A whole number of at least so much; anything else is refused."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ValueError(f"{name} is {value!r}; it must be a whole number, at least {least}.")
    return int(value)


def bfgs(n: int, search: Search | str = wolfe.loose_wolfe, rescale: bool = True) -> Method:
    """BFGS; `rescale` enlarges the matrix where it was too small."""
    return along_lines("bfgs", bfgs_file.updates(rescale), search)


def self_scaled_broyden(n: int, search: Search | str = wolfe.loose_wolfe) -> Method:
    """The self-scaled Broyden family."""
    return along_lines("broyden", broyden.broyden, search)


def limited(
    n: int, search: Search | str = wolfe.loose_wolfe, memory: int | None = None, diagonal: bool = True
) -> Method:
    """L-BFGS with the last `memory` pairs; by default min(100, 2 n), torch's 100 for all but small problems."""
    pairs = min(100, 2 * n) if memory is None else whole("memory", memory, 1)
    return replace(along_lines("lbfgs", lbfgs.limited(pairs, diagonal), search), history=pairs)


def cg(n: int, search: Search | str = wolfe.sharp_wolfe, beta: Beta = hybrid, matrix: int = 11) -> Method:
    """Conjugate gradients; where n is at most `matrix`, BFGS in their place: they are the wrong method there."""
    if not callable(beta):
        raise TypeError(f"beta is {beta!r}; it must be a function of g, y and d.")
    search = named(search)
    if n <= whole("matrix", matrix, 0):
        return along_lines("cg", bfgs_file.bfgs, wolfe.loose_wolfe)
    return along_lines("cg", conjugate_gradient(beta), search)


def newton_exact(n: int) -> Method:
    """Newton with the exact trust region."""

    def begin(counted: Any, x: Any, f: Any, g: Any) -> TrustWalk:
        return TrustWalk(ExactModel(trust_exact, counted.hessian), trust_region.judge, x, f, g)

    return Method("newton", begin, trust_exact.card, dense=True)


def newton_cg(n: int) -> Method:
    """Newton with products only."""

    def begin(counted: Any, x: Any, f: Any, g: Any) -> TrustWalk:
        return TrustWalk(ProductModel(trust_cg.steihaug, trust_exact, counted.product), trust_region.judge, x, f, g)

    return Method("newton-cg", begin, trust_cg.card)


def newton_line(n: int, search: Search | str = armijo.armijo) -> Method:
    """Newton by a modified factorisation and a line search."""
    return along_lines("newton-line", newton.newton, search)


METHODS: dict[str, Callable[..., Method]] = {
    "bfgs": bfgs,
    "broyden": self_scaled_broyden,
    "cg": cg,
    "lbfgs": limited,
    "newton": newton_exact,
    "newton-cg": newton_cg,
    "newton-line": newton_line,
}
SCIPYS = {
    "l-bfgs": "lbfgs",
    "l-bfgs-b": "lbfgs",
    "trust-exact": "newton",
    "dogleg": "newton",
    "trust-ncg": "newton-cg",
    "trust-krylov": "newton-cg",
}  # the nearest to SciPy's other names
SEARCHES: dict[str, Search] = {
    "armijo": armijo.armijo,
    "hager-zhang": hager_zhang.hager_zhang_search,
    "wolfe": wolfe.loose_wolfe,
}
