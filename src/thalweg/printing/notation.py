"""Three ways to write an expression: for the terminal, for paper, and to compute along.

>>> import ast
>>> x = ast.parse("p - lr * m_hat / (sqrt(v) + eps)", mode="eval").body
>>> print(UNICODE.text(x))
p − lr · m̂ / (√v + ε)
>>> print(LATEX.text(x))
p - \\frac{\\mathrm{lr} \\cdot \\hat{m}}{\\sqrt{v} + \\epsilon}
>>> print(PLAIN.text(x))
p - lr * m_hat / (sqrt(v) + eps)
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence

from thalweg.printing.folding import number, same

COMPARE, SUM, PRODUCT, SIGN, POWER, ATOM = range(6)  # how strongly an expression holds together
_OPERATORS: dict[type, tuple[str, int]] = {
    ast.Add: ("+", SUM), ast.Sub: ("-", SUM), ast.Mult: ("*", PRODUCT), ast.Div: ("/", PRODUCT),
    ast.Pow: ("**", POWER), ast.Lt: ("<", COMPARE), ast.LtE: ("<=", COMPARE), ast.Gt: (">", COMPARE),
    ast.GtE: (">=", COMPARE),
}  # fmt: skip
_GREEK: dict[str, str] = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "eps": "ε", "zeta": "ζ", "eta": "η",
    "theta": "θ", "kappa": "κ", "lambda": "λ", "mu": "μ", "nu": "ν", "xi": "ξ", "rho": "ρ", "sigma": "σ",
    "tau": "τ", "phi": "φ", "chi": "χ", "psi": "ψ", "omega": "ω",
}  # fmt: skip
_ACCENTS = {"hat": "\u0302", "bar": "\u0304", "tilde": "\u0303"}
_LOW: dict[str, str] = dict(zip("0123456789aehijklmnoprstuvx", "₀₁₂₃₄₅₆₇₈₉ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ", strict=True))
_HIGH: dict[str, str] = dict(zip("0123456789-ikmnpt", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻ⁱᵏᵐⁿᵖᵗ", strict=True))


class Plain:
    """Python's own signs, so that a line can be pasted and computed."""

    arrow = "<-"
    signs: dict[str, str] = {}  # noqa: RUF012  read only

    def line(self, targets: Sequence[str], value: ast.expr) -> str:
        """A whole assignment."""
        return f"{', '.join(map(self.name, targets))} {self.arrow} {self.text(value)}"

    def text(self, node: ast.expr) -> str:
        """An expression."""
        return self.write(node)[0]

    def at_least(self, node: ast.expr, strength: int) -> str:
        """An operand, in parentheses where it holds together less than that."""
        text, own = self.write(node)
        return text if own >= strength else self.parentheses(text)

    def parentheses(self, text: str) -> str:
        """A part that belongs together."""
        return f"({text})"

    def write(self, node: ast.expr) -> tuple[str, int]:
        """The text of an expression, and how strongly it holds together."""
        value = number(node)
        if value is not None:
            return self.number(value), ATOM if value >= 0 else SIGN
        match node:
            case ast.Name(id=name):
                return self.name(name), ATOM
            case ast.UnaryOp(operand=x):
                return f"{self.signs.get('-', '-')}{self.at_least(x, POWER)}", SIGN
            case ast.BinOp(left=a, op=ast.Mult(), right=b) if same(a, b):
                return self.power(a, ast.Constant(2)), POWER
            case ast.BinOp(left=a, op=ast.Pow(), right=b):
                return self.power(a, b), POWER
            case ast.BinOp(left=a, op=ast.Div(), right=b):
                return self.fraction(a, b)
            case ast.BinOp(left=a, op=op, right=b) | ast.Compare(left=a, ops=[op], comparators=[b]):
                sign, strength = _OPERATORS[type(op)]
                # What begins with a minus stands in parentheses after a sign: 0.1 * (-1.4).
                right = self.at_least(b, POWER if self.write(b)[1] == SIGN else strength + 1)
                return f"{self.at_least(a, strength)} {self.signs.get(sign, sign)} {right}", strength
            case ast.Call(func=ast.Name(id=word), args=args):
                return self.word(word, args)
            case ast.Subscript(value=x, slice=ast.Constant(value=i)):
                return f"{self.at_least(x, ATOM)}[{i}]", ATOM
            case ast.Tuple(elts=elements):
                return ", ".join(map(self.text, elements)), COMPARE
        raise TypeError(f"{ast.unparse(node)!r} is no part of a formula.")

    def name(self, name: str) -> str:
        """A name of the rule."""
        return name

    def number(self, value: float) -> str:
        """A number."""
        return f"{value:.6g}" if isinstance(value, float) else str(value)

    def power(self, a: ast.expr, b: ast.expr) -> str:
        """A power."""
        return f"{self.at_least(a, ATOM)}**{self.at_least(b, POWER)}"

    def fraction(self, a: ast.expr, b: ast.expr) -> tuple[str, int]:
        """A quotient."""
        return f"{self.at_least(a, PRODUCT)} / {self.at_least(b, SIGN + 1)}", PRODUCT

    def word(self, word: str, args: Sequence[ast.expr]) -> tuple[str, int]:
        """A word of `thalweg.ops` on its arguments."""
        return f"{word}({', '.join(map(self.text, args))})", ATOM


class Unicode(Plain):
    """Mathematics in one line of text."""

    arrow = "←"
    signs = {"*": "·", "-": "−", "<=": "≤", ">=": "≥"}  # noqa: RUF012

    def name(self, name: str) -> str:
        """Greek letters, accents and small digits where there are such: beta1 is β₁, m_hat m̂."""
        base, index, accent, rest, primes = parted(name)
        letter = _GREEK.get(base, base)
        if len(letter) > 1 or (len(rest) > 1 and not index):  # words stay as they are in the source
            letter = f"{letter}{index}" + "".join(f"_{word}" for word in (accent, rest) if word)
            if not accent and len(rest) == 1 and rest in _LOW:
                letter = f"{base}{index}{_LOW[rest]}"
            return letter + "′" * len(primes)
        low = "".join(_LOW[c] for c in index) + (_LOW.get(rest, f"_{rest}") if rest else "")
        return letter + _ACCENTS.get(accent, "") + low + "′" * len(primes)

    def number(self, value: float) -> str:
        """A number, with a real minus sign."""
        return super().number(value).replace("-", "−")

    def power(self, a: ast.expr, b: ast.expr) -> str:
        """A power with a raised exponent, where every character of it can be raised."""
        exponent = Plain.text(PLAIN, b)
        if all(c in _HIGH for c in exponent):
            return self.at_least(a, ATOM) + "".join(_HIGH[c] for c in exponent)
        return f"{self.at_least(a, ATOM)}^{self.at_least(b, ATOM)}"

    def word(self, word: str, args: Sequence[ast.expr]) -> tuple[str, int]:
        """A word in its usual sign."""
        match word, args:
            case "sqrt", [x]:
                return f"√{self.at_least(x, ATOM)}", ATOM
            case "abs", [x]:
                return f"|{self.text(x)}|", ATOM
            case "norm", [x]:
                return f"‖{self.text(x)}‖", ATOM
            case "total", [x]:
                return f"Σ {self.at_least(x, PRODUCT)}", PRODUCT
            case "equal", [a, b]:
                return f"{self.at_least(a, SUM)} = {self.at_least(b, SUM)}", COMPARE
            case "matmul", [a, b]:
                return f"{self.at_least(a, PRODUCT)} {self.at_least(b, POWER)}", PRODUCT
            case "transpose", [x]:
                return f"{self.at_least(x, ATOM)}ᵀ", POWER
            case "where", [condition, a, b]:
                return f"{{{self.text(a)} if {self.text(condition)}, else {self.text(b)}}}", ATOM
        return super().word({"minimum": "min", "maximum": "max"}.get(word, word), args)


class Latex(Plain):
    r"""LaTeX that KaTeX, MathJax and matplotlib understand, with no ``\,`` or ``\_`` that Markdown would eat."""

    arrow = r"\leftarrow"
    signs = {"*": r"\cdot", "<=": r"\leq", ">=": r"\geq"}  # noqa: RUF012

    def parentheses(self, text: str) -> str:
        """Parentheses as high as what they hold."""
        return rf"\left( {text} \right)"

    def name(self, name: str) -> str:
        """One letter in italics, words upright, and what follows a letter below it."""
        base, index, accent, rest, primes = parted(name)
        word = base not in _GREEK and len(base) > 1
        if word and len(rest) > 1:
            base, rest = rf"{base}\ {rest}".replace("_", r"\ "), ""
        greek = rf"\{'epsilon' if base == 'eps' else base}"
        letter = rf"\mathrm{{{base}}}" if word else greek if base in _GREEK else base
        if accent:
            letter = rf"\{'wide' if word and accent != 'bar' else ''}{accent}{{{letter}}}"
        low = [index] if index else []
        low += [rest if len(rest) == 1 else rf"\mathrm{{{rest}}}".replace("_", r"\ ")] if rest else []
        return letter + (f"_{{{','.join(low)}}}" if low else "") + "'" * len(primes)

    def number(self, value: float) -> str:
        """A number, small and large ones by their power of ten."""
        digits, e, exponent = super().number(value).partition("e")
        power = rf"10^{{{int(exponent)}}}" if e else ""
        return rf"{digits} \cdot {power}" if e and digits != "1" else power or digits

    def power(self, a: ast.expr, b: ast.expr) -> str:
        """A power."""
        return f"{self.at_least(a, ATOM)}^{{{self.text(b)}}}"

    def fraction(self, a: ast.expr, b: ast.expr) -> tuple[str, int]:
        """A fraction, one above the other."""
        return rf"\frac{{{self.text(a)}}}{{{self.text(b)}}}", PRODUCT

    def word(self, word: str, args: Sequence[ast.expr]) -> tuple[str, int]:
        """A word in its usual sign."""
        texts = list(map(self.text, args))
        match word, args:
            case "sqrt", _:
                return rf"\sqrt{{{texts[0]}}}", ATOM
            case "abs", _:
                return rf"\left| {texts[0]} \right|", ATOM
            case "row_mean", _:
                return rf"\mathrm{{mean}}_{{\mathrm{{row}}}}{self.parentheses(texts[0])}", ATOM
            case "norm", _:
                return rf"\left\Vert {texts[0]} \right\Vert", ATOM
            case "total", [x]:
                return rf"\sum {self.at_least(x, PRODUCT)}", PRODUCT
            case "equal", [a, b]:
                return f"{self.at_least(a, SUM)} = {self.at_least(b, SUM)}", COMPARE
            case "matmul", [a, b]:
                return rf"{self.at_least(a, PRODUCT)} \ {self.at_least(b, POWER)}", PRODUCT
            case "transpose", [x]:
                return rf"{self.at_least(x, ATOM)}^{{\top}}", POWER
            case "where", _:
                either = rf"{texts[1]} \ \mathrm{{if}} \ {texts[0]}, \ \mathrm{{else}} \ {texts[2]}"
                return rf"\left\lbrace {either} \right\rbrace", ATOM
        known = {"minimum": r"\min", "maximum": r"\max", "exp": r"\exp", "log": r"\log", "tanh": r"\tanh"}
        sign = known.get(word, rf"\mathrm{{{word}}}")
        return sign + self.parentheses(", ".join(texts)), ATOM


def parted(name: str) -> tuple[str, str, str, str, str]:
    """A name's letters, its digits, its accent, what else follows an underscore, and its primes.

    >>> parted("beta1"), parted("v_hat_max'")
    (('beta', '1', '', '', ''), ('v', '', 'hat', 'max', "'"))
    """
    found = re.fullmatch(r"([A-Za-z]+)(\d*)((?:_\w+?)*)('*)", name)
    if found is None:
        return name.rstrip("'"), "", "", "", name[len(name.rstrip("'")) :]
    base, index, words, primes = found.groups()
    rest = [word for word in words.split("_") if word]
    accent = next((word for word in rest if word in _ACCENTS), "")
    return base, index, accent, "_".join(word for word in rest if word != accent), primes


PLAIN, UNICODE, LATEX = Plain(), Unicode(), Latex()
