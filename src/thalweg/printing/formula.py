"""A rule's formula in Unicode and in LaTeX, printed from its own source.

>>> from thalweg.rules.momentum import momentum
>>> print(formula(momentum))
push ← g
v ← momentum · v + push
p ← p − lr · v
"""

from __future__ import annotations

import ast
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from thalweg.printing.lines import Line, read
from thalweg.printing.notation import LATEX, UNICODE
from thalweg.signature import Rule, signature_of


@dataclass(frozen=True)
class Formula:
    """The lines of a rule under its settings; printing it gives Unicode.

    Args:
        lines: in order, each with its expression, its comment and the function it stands in.
        left_out: the hyper-parameters that are 0 here, and whose share of the lines is not shown.
    """

    lines: Sequence[Line]
    left_out: Sequence[str] = ()

    @property
    def unicode(self) -> list[str]:
        """The lines in Unicode, without their notes."""
        return [UNICODE.line(line.targets, line.value) for line in self.lines]

    @property
    def latex(self) -> list[str]:
        """The lines in LaTeX, without their notes and without dollar signs."""
        return [LATEX.line(line.targets, line.value) for line in self.lines]

    @property
    def names(self) -> list[str]:
        """Every name in it, in the order in which a reader meets them."""
        met: dict[str, None] = {}
        for line in self.lines:
            met |= dict.fromkeys(line.targets)
            words = {id(node.func) for node in ast.walk(line.value) if isinstance(node, ast.Call)}
            named = [node for node in ast.walk(line.value) if isinstance(node, ast.Name) and id(node) not in words]
            met |= dict.fromkeys(node.id for node in named)
        return list(met)

    def __str__(self) -> str:
        width = max(map(_width, self.unicode), default=0)
        texts = [
            f"{text}{' ' * (width - _width(text))}   {line.note}" if line.note else text
            for text, line in zip(self.unicode, self.lines, strict=True)
        ]
        parts = [(part, list(group)) for part, group in groupby(range(len(texts)), lambda i: self.lines[i].part)]
        if len(parts) == 1:
            return "\n".join(texts)
        return "\n".join("\n".join([f"{part}:", *(f"  {texts[i]}" for i in group)]) for part, group in parts)


def _width(text: str) -> int:
    """How many cells of a terminal: an accent takes none."""
    return sum(not unicodedata.combining(c) for c in text)


def formula(rule: Rule, **settings: Any) -> Formula:
    """The formula of a rule.

    Args:
        rule: a function ``(p, g, slots ..., *, t, hyper-parameters ...)``.
        settings: hyper-parameters that differ from their defaults; a flag chooses its branch.

    Raises:
        TypeError: no rule, an unknown setting, a source that cannot be read, a statement that is no formula.
    """
    lines = read(rule, **settings)
    numbers = {name: settings.get(name, value) for name, value in signature_of(rule).numbers.items()}
    written = [str(line) for line in lines]
    zeros = [name for name, value in numbers.items() if isinstance(value, int | float) and value == 0]
    hidden = [name for name in zeros if [str(line) for line in read(rule, **{**settings, name: 1.0})] != written]
    return Formula(lines, hidden)
