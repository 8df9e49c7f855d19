"""The formula of a minimizer's card, which stands there in plain characters, in Unicode and in LaTeX.

>>> unicode("d = -(L D L')^-1 g"), latex("beta >= y's")
('d = −(L D Lᵀ)⁻¹ g', '\\\\beta \\\\geq y^{\\\\top}s')
>>> lines("H+ = H + s s'/y's,  d = -H g")
["H+ = H + s s'/y's", 'd = -H g']
"""

from __future__ import annotations

import re

from thalweg.printing.notation import LATEX, UNICODE

_TOKEN = re.compile(
    r"(?P<raised>\^-?\d+(?:/\d+)?)|(?P<after>(?<=[A-Za-z])\+(?= =))|(?P<letters>[A-Za-z]+)(?=(?P<prime>'?))"
    r"|(?P<sign>>=|<=|['|-])"
)
_HIGH = str.maketrans("0123456789-/", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻ᐟ")
_OPERATORS = ("max", "min")


def lines(formula: str) -> list[str]:
    """The formulas of a card, one each: two spaces follow the comma between them."""
    return formula.split(",  ")


def symbols(formula: str) -> list[str]:
    """Every letter and every named quantity in it, in the order in which a reader meets them."""
    met = [part for found in _TOKEN.finditer(formula) if found["letters"] for part in _parts(found)]
    return [*dict.fromkeys(name for name in met if len(name) == 1 or _is_greek(name))]


def unicode(formula: str) -> str:
    """One of its lines in Unicode."""

    def written(found: re.Match[str]) -> str:
        if found["raised"]:
            return found["raised"][1:].translate(_HIGH)
        if found["after"]:
            return "⁺"
        if found["letters"]:
            name = found["letters"]
            return UNICODE.name(name) if _is_greek(name) else name
        return {"'": "ᵀ", "|": "‖", "-": "−", ">=": "≥", "<=": "≤"}[found["sign"]]

    return _TOKEN.sub(written, formula)


def latex(formula: str) -> str:
    """One of its lines in LaTeX."""

    def written(found: re.Match[str]) -> str:
        if found["raised"]:
            return f"^{{{found['raised'][1:]}}}"
        if found["after"]:
            return "^{+}"
        if found["letters"]:
            return " ".join(map(_latex_name, _parts(found)))
        return {"'": r"^{\top}", "|": r"\Vert ", "-": "-", ">=": r"\geq", "<=": r"\leq"}[found["sign"]]

    return re.sub(r"(\\mathrm{\w+}) (?=[\w(\\])|(?<=[\w)}]) (?=\\mathrm)", r"\1\\ ", _TOKEN.sub(written, formula))


def _parts(found: re.Match[str]) -> list[str]:
    """Letters that stand together: a word, or the product of several vectors and matrices, as in Hs and vv'."""
    name = found["letters"]
    return list(name) if not _is_greek(name) and (found["prime"] or not name.islower()) else [name]


def _is_greek(name: str) -> bool:
    return len(name) > 1 and len(UNICODE.name(name)) == 1


def _latex_name(name: str) -> str:
    if len(name) == 1 or _is_greek(name):
        return LATEX.name(name)
    return rf"\{name}" if name in _OPERATORS else rf"\mathrm{{{name}}}"
