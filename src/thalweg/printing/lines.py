"""A rule's own lines, read from its source and resolved for given settings.

What a flag switches off is gone, what another function of the house does stands where it is called, and a
hyper-parameter that is 0 drops out (``x + 0``, ``1 - 0``). Every notation, and the worked example, is
printed from these lines.

    >>> from thalweg.rules.adam import adam
    >>> for line in read(adam)[:2]:
    ...     print(line)
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * (g * g)
"""

from __future__ import annotations

import ast
import functools
import inspect
import io
import textwrap
import tokenize
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from thalweg import ops
from thalweg.engine.trace import trace
from thalweg.printing.folding import folded
from thalweg.signature import Rule, signature_of

# ratio is made of other words, and reads better as itself.
WORDS = {getattr(ops, word): word for word in (*ops.ELEMENTWISE, *ops.REDUCTIONS, *ops.MATRIX, "ratio")}
_TO_TOOLS = ("noqa", "fmt:", "type:", "pyright:", "pragma")


@dataclass(frozen=True)
class Line:
    """One assignment of a formula.

    Args:
        targets: the names that get a value: one, or those of a matrix operation with several results.
        value: the expression, of names, numbers, operators, comparisons and the words of `thalweg.ops`.
        note: the comment that stands beside it in the source.
        part: the function that it stands in: the rule itself, or one of its kin that it calls.
    """

    targets: tuple[str, ...]
    value: ast.expr
    note: str = ""
    part: str = ""

    def __str__(self) -> str:
        return f"{', '.join(self.targets)} = {ast.unparse(self.value)}"


def read(rule: Rule, **settings: Any) -> list[Line]:
    """The lines that the rule runs under these settings, in order.

    Args:
        rule: a rule, also one with a transform in front.
        settings: hyper-parameters that differ from their defaults.

    Raises:
        TypeError: no rule, an unknown setting, a source that cannot be read or a statement that is no formula.
    """
    graph = trace(rule, **settings)
    signature = signature_of(rule)
    env: dict[str, ast.expr] = {name: ast.Name(name) for name in ("p", "g", "t")}
    env |= {name: ast.Name(name) if name in graph.slots else ast.Constant(None) for name in signature.slots}
    for name, value in {**signature.defaults, **settings}.items():
        static = name in signature.flags or (isinstance(value, int | float) and value == 0)
        env[name] = ast.Constant(value) if static else ast.Name(name)
    outputs = ("p", *signature.slots)
    reader = _Reader()
    result = reader.call(rule, env, outputs, [])
    scope = _Scope(rule, {}, part=reader.part or signature.name)
    values = _elements(result)
    for name, value in zip(outputs, values, strict=True):
        if not (isinstance(value, ast.Constant) and value.value is None):
            reader.assign(scope, name, value, pending=values, always=True)
    return reader.lines


# ---- one function's names


@dataclass
class _Scope:
    """What the names of a running function stand for; `wishes`, how its results will be called outside."""

    function: Callable[..., Any]
    env: dict[str, ast.expr]
    part: str
    wishes: Mapping[str, str] = field(default_factory=dict)
    outside: Sequence[ast.expr] = ()  # what the callers still need: no line may overwrite a name in it
    results: tuple[str, ...] = ()
    silent: bool = False  # inside an expression: no lines, everything is put in its place

    @functools.cached_property
    def globals(self) -> dict[str, Any]:
        """What the function can see besides its own names."""
        function = inspect.unwrap(self.function)
        seen = inspect.getclosurevars(function)
        return {**getattr(function, "__globals__", {}), **seen.nonlocals}

    def names(self) -> dict[str, Any]:
        """The function's own names for `eval`: what is static as it is, everything else as a value."""
        return {name: e.value if isinstance(e, ast.Constant) else _Value(name) for name, e in self.env.items()}


class _Value:
    """A number that is not known while reading: nothing may be asked of it but whether it is None."""

    def __init__(self, name: str):
        self.name = name

    def __bool__(self) -> bool:
        raise TypeError("a rule may not ask 'if' of a value.")


class _Reader:
    """Runs a rule's statements on names instead of numbers, and writes down every assignment."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.part = ""  # where the last line stands
        self.note = ""  # waits for the next line

    def call(
        self,
        function: Callable[..., Any],
        env: dict[str, ast.expr],
        results: tuple[str, ...] = (),
        outside: Sequence[ast.expr] = (),
        part: str = "",
        silent: bool = False,
    ) -> ast.expr:
        """Run a function with these arguments; the expression that it returns."""
        name = getattr(function, "__name__", repr(function))
        if hasattr(function, "parts"):  # a transform in front of a rule: one after the other
            transform, rule = function.parts  # pyright: ignore[reportFunctionMemberAccess]
            before = self.call(transform, _chosen(transform, env), ("p", "g"), list(env.values()))
            inner = _Scope(function, env, part=transform.__name__)
            self.unpack(inner, ["p", "g"], before)
            return self.call(rule, _chosen(rule, inner.env), results, outside)
        if not part or _is_rule(function):
            part = name
        definition, comments = _source(function)
        scope = _Scope(function, env, part, _wishes(definition, results), outside, results, silent)
        result = self.run(scope, definition.body, comments)
        if result is None:
            raise TypeError(f"{name} returns nothing; a formula returns its values.")
        return result

    def run(self, scope: _Scope, body: Sequence[ast.stmt], comments: Mapping[int, str]) -> ast.expr | None:
        """Run statements; what is returned, or None where they end before."""
        for statement in body:
            own = statement.body[0].lineno - 1 if isinstance(statement, ast.If) else statement.end_lineno
            first = next((i for i in range(statement.lineno, 0, -1) if i - 1 not in comments[0]), statement.lineno)
            note = " ".join(comments[i] for i in range(first, (own or first) + 1) if i in comments and i)
            if note and not scope.silent:
                self.note = f"{self.note} {note}".strip()
            match statement:
                case ast.Return(value=value):
                    return self.value(scope, value or ast.Constant(None), scope.results)
                case ast.If(test=test):
                    branch = statement.body if self.static(scope, test) else statement.orelse
                    result = self.run(scope, branch, comments)
                    if result is not None:
                        return result
