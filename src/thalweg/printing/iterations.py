"""The iterations of a minimizer, written out with their numbers.

>>> known = {"p": [3.0], "f": 9.0, "g": [6.0], "d": [-6.0], "how": "-g", "known": {}, "learned": {}}
>>> trial = {"p": [0.0], "f": 0.0, "accepted": True, "numbers": {"a": 0.5, "slope": 0.0}}
>>> more = {"trials": [trial], "s": [-3.0], "y": [-6.0], "products": 0, "hessians": 0, "evaluations": 1}
>>> print(text(1, {**known, **more}, ["x"], 2))
iteration 1   x = 3   f = 9   g = 6
  d <- -g = -6
  g'd <- 6 * (-6) = -36
  trial 1   a = 0.5   slope = 0   f = 0   accepted
  p <- 3 + 0.5 * (-6) = 0
  s <- 0 - 3 = -3
  y <- 0 - 6 = -6
  s'y <- -3 * (-6) = 18
  evaluations 1, with all before 2
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from thalweg.printing.notation import PLAIN
from thalweg.printing.worked import round_to

SHOWN = 4  # unknowns up to which vectors and matrices are written out
NAMES = {"length": "|s|", "foretold": "foretold fall of f", "gained": "its fall"}


def text(number: int, known: Mapping[str, Any], names: Sequence[str], so_far: int) -> str:
    """One iteration.

    Args:
        number: which, from 1.
        known: its data: the point `p` with value `f` and gradient `g`, the direction `d` and `how` it is made,
            `trials`, `s` and `y` (None where no trial was accepted), what is `known` before and `learned` after,
            and how many `evaluations`, `hessians` and `products` it took.
        names: of the coordinates.
        so_far: evaluations up to its end, with that at the start.
    """
    p, g, d, s, y = (known[name] for name in "pgdsy")
    lines = [_line(name, "", value) for name, value in known["known"].items()]
    along = any("a" in trial["numbers"] for trial in known["trials"])
    if along:
        lines += [_line("d", known["how"], d), _line("g'd", products(g, d), float(np.dot(g, d)))]
    else:
        lines += [_line("s", "", d)]
    for i, trial in enumerate(known["trials"], 1):
        numbers = [f"{NAMES.get(name, name)} = {shown(value)}" for name, value in trial["numbers"].items()]
        verdict = "accepted" if trial["accepted"] else "refused"
        lines.append("   ".join([f"trial {i}", *numbers, f"f = {shown(trial['f'])}", verdict]))
    if s is not None:
        arrived = np.add(p, s)
        if along:
            length = float(np.dot(s, d) / np.dot(d, d))
            lines.append(_line("p", f"{shown(p)} + {shown(length)} * {bracketed(d)}", arrived))
            lines.append(_line("s", f"{shown(arrived)} - {bracketed(p)}", s))
        else:
            lines.append(_line("p", f"{shown(p)} + {bracketed(s)}", arrived))
        lines.append(_line("y", f"{shown(np.add(g, y))} - {bracketed(g)}", y))
        lines.append(_line("s'y", products(s, y), float(np.dot(s, y))))
    for name, value in known["learned"].items():
        lines.append(_line(name, "", value))
        if name == "H":
            lines.append(_line("H y", "", np.asarray(value) @ y) + ", and s is " + shown(s))
    second = [f"   {name} {known[name]}" for name in ("hessians", "products") if known[name]]
    lines.append(f"evaluations {known['evaluations']}, with all before {so_far}{''.join(second)}")
    return "\n".join([place(f"iteration {number}", names, p, known["f"], g), *(f"  {line}" for line in lines)])


def place(begin: str, names: Sequence[str], p: Any, f: float, g: Any) -> str:
    """A point with its value and gradient."""
    where = names[0] if len(names) == 1 else f"({', '.join(names)})" if len(names) <= SHOWN else "p"
    return f"{begin}   {where} = {shown(p)}   f = {shown(f)}   g = {shown(g)}"


def shown(value: Any) -> str:
    """A number, a vector or a matrix, with as many digits as are shown; a long one by its size."""
    array = np.asarray(value, dtype=float)
    if array.ndim == 0 or array.size == 1:
        return PLAIN.number(round_to(array.item()))
    if array.ndim == 1 and array.size > SHOWN:
        return f"[{array.size} numbers, length {shown(float(np.linalg.norm(array)))}]"
    if array.shape[-1] > SHOWN:
        return f"[{'x'.join(map(str, array.shape))} numbers]"
    if array.ndim == 1:
        return f"({', '.join(map(shown, array))})"
    return f"[{', '.join(map(shown, array))}]"


def products(a: Sequence[float], b: Sequence[float]) -> str:
    """An inner product with its numbers."""
    if len(a) > SHOWN:
        return ""
    pairs = [f"{bracketed(x)} * {bracketed(y)}" for x, y in zip(a, b, strict=True)]
    return " + ".join([f"{shown(a[0])} * {bracketed(b[0])}", *pairs[1:]])


def bracketed(value: Any) -> str:
    """What begins with a minus stands in parentheses after a sign."""
    written = shown(value)
    return f"({written})" if written.startswith("-") else written


def _line(name: str, how: str, value: Any) -> str:
    result = shown(value)
    return f"{name} <- {how} = {result}" if how and how != result else f"{name} = {result}"
