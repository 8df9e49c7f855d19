"""What people type: ``adam(lr=0.1)`` and ``lambda x, y: x**2 + y``, read and never evaluated as Python.

>>> calls("adam(beta1=0.5), momentum")
[Call(name='adam', arguments={'beta1': 0.5}), Call(name='momentum', arguments={})]
>>> function("lambda x, y: x**2 + 10 * abs(y)")(torch.ones(2), torch.tensor([2.0, -3.0]))
tensor([21., 31.])
"""

from __future__ import annotations

import ast
import inspect
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from thalweg.signature import did_you_mean

LONGEST = 2000  # characters: enough for any formula, too few to keep a parser busy


@dataclass(frozen=True)
class Call:
    """A name, and the keyword arguments that were given with it."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        inside = ", ".join(f"{key}={value!r}" for key, value in self.arguments.items())
        return f"{self.name}({inside})" if inside else self.name


def calls(text: str) -> list[Call]:
    """The calls in a list separated by commas: names, with plain values as keyword arguments.

    Raises:
        ValueError: anything else; says what.
    """
    body = _parsed(f"({text},)", text).body
    assert isinstance(body, ast.Tuple)
    return [_call(node, text) for node in body.elts]


def call(text: str) -> Call:
    """The same for exactly one."""
    found = calls(text)
    if len(found) != 1:
        raise ValueError(f"{text!r} names {len(found)} things; it must name one.")
    return found[0]


def value(text: str) -> Any:
    """A number, True, False, None, or else the text itself.

    >>> value("1e-3"), value("true"), value("sum")
    (0.001, True, 'sum')
    """
    words = {"true": True, "false": False, "none": None}
    if text.strip().lower() in words:
        return words[text.strip().lower()]
    try:
        number = float(text)
    except ValueError:
        return text.strip()
    return int(number) if text.strip().lstrip("+-").isdigit() else number


def _parsed(source: str, shown: str) -> ast.Expression:
    if len(shown) > LONGEST:
        raise ValueError(f"what was typed has {len(shown)} characters; it must have at most {LONGEST}.")
    try:
        return ast.parse(source.strip(), mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise ValueError(f"{shown!r} cannot be read: it is not written as in Python.") from None


def _call(node: ast.expr, text: str) -> Call:
    if isinstance(node, ast.Name):
        return Call(node.id)
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        raise ValueError(f"{text!r} holds {_shown(node)}; it must be a name, or a name(setting=value, ...).")
    if node.args or any(k.arg is None for k in node.keywords):
        raise ValueError(f"{text!r}: in {node.func.id}(...) every value needs its name: setting=value.")
    return Call(node.func.id, {str(k.arg): _constant(k.value, text) for k in node.keywords})


def _constant(node: ast.expr, text: str) -> Any:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
        inside = node.operand.value
        if isinstance(inside, int | float) and not isinstance(inside, bool):
            return -inside
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float | str):
        return node.value
    if isinstance(node, ast.Name):
        return value(node.id)
    raise ValueError(f"{text!r} holds {_shown(node)}; a setting is a number, True, False or a word.")


# ---- formulas

FUNCTIONS: dict[str, tuple[int, Callable[..., Tensor]]] = {
    "sin": (1, torch.sin), "cos": (1, torch.cos), "tan": (1, torch.tan), "tanh": (1, torch.tanh),
    "exp": (1, torch.exp), "log": (1, torch.log), "sqrt": (1, torch.sqrt), "abs": (1, torch.abs),
    "min": (2, torch.minimum), "max": (2, torch.maximum), "where": (3, torch.where),
}  # fmt: skip
CONSTANTS = {"pi": math.pi, "e": math.e}
OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.Pow: operator.pow, ast.USub: operator.neg, ast.UAdd: operator.pos,
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
}  # fmt: skip
HINTS: dict[type[ast.AST], str] = {
    ast.IfExp: "write where(condition, a, b)",
    ast.BoolOp: "nest one where(...) in another",
    ast.BitXor: "a power is written **",
    ast.Attribute: "functions are written without a module: sin(x)",
}
Values = Mapping[str, Tensor]


def function(text: str) -> Callable[..., Tensor]:
    """The function of ``lambda x, y: ...``: arithmetic and a few functions on tensors, nothing else.

    Raises:
        ValueError: the text holds something that is not allowed; names it.
    """
    body = _parsed(text, text).body
    if not isinstance(body, ast.Lambda):
        raise ValueError(f"{text!r} is no function; it must be like 'lambda x, y: x**2 + 10 * y**2'.")
    given = body.args
    odd = [*given.posonlyargs, *given.kwonlyargs, *given.defaults, given.vararg, given.kwarg]
    names = [each.arg for each in given.args]
    if any(odd) or not 1 <= len(names) <= 2:
        raise ValueError(f"{text!r}: its arguments must be one or two plain names, as in 'lambda x, y: ...'.")
    try:
        compute = _compiled(body.body, names)
    except RecursionError:
        raise ValueError(f"{text[:40]!r}... is nested too deeply.") from None
    return _named(names, compute)


def _named(names: list[str], compute: Callable[[Values], Tensor]) -> Callable[..., Tensor]:
    def called(*coordinates: Tensor) -> Tensor:
        return compute(dict(zip(names, coordinates, strict=True)))

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    called.__signature__ = inspect.Signature([inspect.Parameter(n, kind) for n in names])  # type: ignore[attr-defined]
    return called


def _compiled(node: ast.expr, names: list[str]) -> Callable[[Values], Tensor]:
    """The node as a function of the coordinates' values."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return _number(node.value)
    if isinstance(node, ast.Name):
        return _name(node.id, names)
    if isinstance(node, ast.Call):
        return _function(node, names)
    if isinstance(node, ast.BinOp | ast.UnaryOp) and type(node.op) in OPERATORS:
        parts = [node.left, node.right] if isinstance(node, ast.BinOp) else [node.operand]
        return _applied(OPERATORS[type(node.op)], parts, names)
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in OPERATORS:
        return _applied(OPERATORS[type(node.ops[0])], [node.left, *node.comparators], names)
    raise ValueError(_refused(node))


def _number(number: float) -> Callable[[Values], Tensor]:
    if abs(number) > 1e300:
        raise ValueError(f"a formula may not hold a number as large as {str(number)[:12]}...")
    constant = torch.tensor(float(number), dtype=torch.float64)  # a tensor: 9**9**9 is inf, and no long computation
    return lambda values: constant


def _name(name: str, names: list[str]) -> Callable[[Values], Tensor]:
    if name in names:
        return lambda values: values[name]
    if name in CONSTANTS:
        return _number(CONSTANTS[name])
    known = [*names, *CONSTANTS, *FUNCTIONS]
    raise ValueError(f"a formula may not hold the name {name!r}.{did_you_mean(name, known)} Known: {', '.join(known)}.")


def _function(node: ast.Call, names: list[str]) -> Callable[[Values], Tensor]:
    if not isinstance(node.func, ast.Name):
        raise ValueError(_refused(node.func))
    name = node.func.id
    if name not in FUNCTIONS:
        near = did_you_mean(name, FUNCTIONS)
        raise ValueError(f"a formula may not call {name!r}.{near} It may call {', '.join(FUNCTIONS)}.")
    count, compute = FUNCTIONS[name]
    if node.keywords or len(node.args) != count or any(isinstance(arg, ast.Starred) for arg in node.args):
        raise ValueError(f"{name} takes {count} argument{'s' if count > 1 else ''}, not {_shown(node)}.")
    return _applied(compute, node.args, names)


def _applied(compute: Callable[..., Any], parts: list[ast.expr], names: list[str]) -> Callable[[Values], Tensor]:
    inner = [_compiled(part, names) for part in parts]
    return lambda values: compute(*(each(values) for each in inner))


def _refused(node: ast.AST) -> str:
    looked_at = node.op if isinstance(node, ast.BinOp | ast.UnaryOp) else node
    hint = HINTS.get(type(looked_at), "")
    construct = type(looked_at).__name__
    return f"a formula may not hold {_shown(node)} ({construct}){': ' + hint if hint else ''}."


def _shown(node: ast.AST) -> str:
    text = ast.unparse(node)
    return repr(text if len(text) <= 40 else text[:39] + "…")
