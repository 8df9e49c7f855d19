"""What drops out of an expression: ``x + 0``, ``1 * x``, ``x ** 1`` and their like.

>>> import ast
>>> ast.unparse(folded(ast.parse("x + 0", mode="eval").body))
'x'
"""

from __future__ import annotations

import ast


def number(node: ast.expr) -> float | None:
    """The number that the expression is, or None."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = number(node.operand)
        return None if inner is None else -inner
    plain = isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool)
    return node.value if plain else None  # pyright: ignore[reportAttributeAccessIssue, reportReturnType]


def same(a: ast.expr, b: ast.expr) -> bool:
    """Whether two expressions are written alike."""
    return ast.dump(a) == ast.dump(b)


def folded(node: ast.expr) -> ast.expr:
    """The expression without its neutral elements; its operands are folded already."""
    match node:
        case ast.UnaryOp(op=ast.USub(), operand=x) if number(x) == 0:
            return x
        case ast.BinOp(left=a, op=op, right=b):
            return _binary(a, op, b) or node
        case ast.Call(func=ast.Name(id="where"), args=[_, a, b]) if same(a, b):
            return a
        case ast.Call(func=ast.Name(id="sqrt"), args=[x]) if number(x) in (0, 1):
            return x
    return node


def _binary(a: ast.expr, op: ast.operator, b: ast.expr) -> ast.expr | None:
    match op, number(a), number(b):
        case (ast.Add(), 0, _) | (ast.Mult(), 1, _):
            return b
        case (ast.Add() | ast.Sub(), _, 0) | (ast.Mult() | ast.Div() | ast.Pow(), _, 1):
            return a
        case (ast.Sub(), 0, _):
            return ast.UnaryOp(ast.USub(), b)
        case (ast.Mult(), 0, _) | (ast.Mult(), _, 0) | (ast.Div(), 0, _):
            return ast.Constant(0)
        case (ast.Pow(), _, 0) | (ast.Pow(), 1, _):
            return ast.Constant(1)
    return None
