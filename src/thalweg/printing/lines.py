"""A rule's own lines, read from its source and resolved for given settings.

What a flag switches off is gone, what another function of the house does stands where it is called, and a
hyper-parameter that is 0 drops out. Every notation, and the worked example, is printed from these lines.

    >>> from thalweg.rules.adam import adam
    >>> for line in read(adam)[:2]:
    ...     print(line)
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * (g * g)
"""

from __future__ import annotations

import ast
import builtins
import functools
import inspect
import io
import textwrap
import tokenize
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from thalweg import ops
from thalweg.engine.trace import trace
from thalweg.printing.folding import folded, number
from thalweg.signature import Rule, signature_of

Function = Callable[..., Any]
# ratio is made of other words, and reads better as itself.
_SUMS = (*ops.ROWS, *ops.REDUCTIONS)
WORDS: dict[Any, str] = {getattr(ops, w): w for w in (*ops.ELEMENTWISE, *_SUMS, *ops.MATRIX, "ratio")}
_FOR_TOOLS = ("noqa", "fmt:", "type:", "pyright:", "pragma:")


@dataclass(frozen=True)
class Line:
    """One assignment of a formula.

    Args:
        targets: the names that get a value: one, or those of a matrix operation with several results.
        value: the expression, of names, numbers, operators and the words of `thalweg.ops`.
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
        TypeError: no rule, an unknown setting, a source that cannot be read, a statement that is no formula.
    """
    kept = trace(rule, **settings).slots
    signature = signature_of(rule)
    env: dict[str, ast.expr] = {name: ast.Name(name) for name in ("p", "g", "t")}
    env |= {name: ast.Name(name) if name in kept else ast.Constant(None) for name in signature.slots}
    for name, value in {**signature.defaults, **settings}.items():
        static = name in signature.flags or (isinstance(value, int | float) and value == 0)
        env[name] = ast.Constant(value) if static else ast.Name(name)
    outputs = ("p", *(name if name in kept else None for name in signature.slots))
    reader = _Reader()
    scope = _Scope(rule, env, signature.name)
    result, part = reader.call(rule, env, signature.name, outputs)
    reader.assign_all(scope, outputs, result, part, always=True)
    return reader.lines


class _Unknown:
    """What a value is while reading: nothing may be asked of it but whether it is None."""

    def __bool__(self) -> bool:
        raise TypeError("a rule may not ask 'if' of a value.")


@dataclass
class _Scope:
    """A function as it runs: what its names stand for, and what its results will be called outside.

    `outside` is what the callers still need: no line may overwrite a name in it. A `silent` function stands
    inside an expression: it writes no lines, everything is put in its place.
    """

    function: Function
    env: dict[str, ast.expr]
    part: str
    results: tuple[str | None, ...] = ()
    outside: Sequence[ast.expr] = ()
    silent: bool = False

    @functools.cached_property
    def tree(self) -> tuple[ast.FunctionDef, dict[int, str]]:
        """The function's source, and its comments by line."""
        return _source(self.function)

    @functools.cached_property
    def wishes(self) -> dict[str, str]:
        """Own names by what they are called outside: ``return delta, m`` into ``step, m`` says delta is step."""
        found: dict[str, str] = {}
        for node in ast.walk(self.tree[0]):
            if isinstance(node, ast.Return) and node.value is not None:
                values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
                for value, wanted in zip(values, self.results, strict=False):
                    if isinstance(value, ast.Name) and wanted:
                        found.setdefault(value.id, wanted)
        return found

    def static(self, node: ast.expr) -> Any:
        """What the expression is, asked of Python itself; an `_Unknown` where it depends on a value."""
        code = compile(ast.fix_missing_locations(ast.Expression(node)), "<formula>", "eval")
        return eval(code, _globals(self.function), self.values())

    def values(self) -> dict[str, Any]:
        """The function's own names, as Python sees them."""
        return {name: _python(e) for name, e in self.env.items()}

    def known(self, node: ast.expr) -> bool:
        """Whether the expression is without any value of the step."""
        names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
        return not any(isinstance(_python(self.env[name]), _Unknown) for name in names & self.env.keys())


class _Reader:
    """Runs statements on names instead of numbers, and writes every assignment down."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.note = ""  # waits for the next line

    def call(
        self,
        function: Function,
        env: dict[str, ast.expr],
        part: str,
        results: tuple[str | None, ...] = (),
        outside: Sequence[ast.expr] = (),
        silent: bool = False,
    ) -> tuple[ast.expr, str]:
        """Run a function on these arguments; the expression that it returns, and whose it is."""
        if hasattr(function, "parts"):  # a transform in front of a rule: one after the other
            transform, rule = function.parts  # pyright: ignore[reportFunctionMemberAccess]
            scope = _Scope(function, dict(env), transform.__name__)
            before = self.call(transform, _chosen(transform, env), transform.__name__, ("p", "g"), [*env.values()])
            self.assign_all(scope, ("p", "g"), *before)
            return self.call(rule, _chosen(rule, scope.env), part, results, outside)
        scope = _Scope(function, env, part, results, outside, silent)
        result = self.run(scope, scope.tree[0].body)
        if result is None:
            raise TypeError(f"{_name(function)} returns nothing; a formula returns its values.")
        return result, scope.part

    def run(self, scope: _Scope, body: Sequence[ast.stmt]) -> ast.expr | None:
        """Run statements; what is returned, or None where they end before that."""
        for statement in body:
            before, result = self.note, None
            if not scope.silent:
                self.note = " ".join(filter(None, [before, _note(statement, scope.tree[1])]))
            match statement:
                case ast.Return(value=value):
                    result, part = self.value_of(scope, value or ast.Constant(None), scope.results)
                    scope.part = part or scope.part
                    return result
                case ast.If(test=test, body=yes, orelse=no):
                    result = self.run(scope, yes if self.decided(scope, test) else no)
                case ast.Match(cases=cases):
                    result = self.run(scope, _case(scope, statement, cases))
                case ast.For(target=ast.Name(id=name), iter=iterable, body=inner, orelse=[]):
                    for item in scope.static(iterable):
                        scope.env[name] = ast.Constant(item)
                        result = result or self.run(scope, inner)
                case (
                    ast.Assign(targets=[target], value=value) | ast.AnnAssign(target=target, value=ast.expr() as value)
                ):
                    self.assign_value(scope, target, value)
                case ast.AugAssign(target=ast.Name(id=name) as target, op=op, value=value):
                    self.assign_value(scope, target, ast.BinOp(ast.Name(name), op, value))
                case ast.Pass() | ast.Expr(value=ast.Constant()):
                    pass
                case _:
                    raise TypeError(
                        f"rule {_name(scope.function)}: {ast.unparse(statement).splitlines()[0]!r} cannot be printed; "
                        "a formula is made of assignments, static ifs and a return."
                    )
            if result is not None:
                return result
            if self.note:  # no line was written for it
                self.note = before
        return None

    def decided(self, scope: _Scope, test: ast.expr) -> bool:
        """Which way a static `if` goes."""
        try:
            return bool(scope.static(test))
        except TypeError:
            raise TypeError(
                f"rule {_name(scope.function)}: 'if {ast.unparse(test)}' depends on a value; use where(...)."
            ) from None

    # ---- assignments

    def assign_value(self, scope: _Scope, target: ast.expr, value: ast.expr) -> None:
        """``target = value``, with the value still to be resolved."""
        names = target.elts if isinstance(target, ast.Tuple) else [target]
        if not all(isinstance(name, ast.Name) for name in names):
            raise TypeError(f"rule {_name(scope.function)}: {ast.unparse(target)!r} is assigned to; name it.")
        own = tuple(name.id for name in names if isinstance(name, ast.Name))
        wanted = tuple(scope.wishes.get(name, name) for name in own)
        resolved, part = self.value_of(scope, value, wanted, own)
        self.assign_all(scope, own, resolved, part)

    def assign_all(
        self, scope: _Scope, names: tuple[str | None, ...], value: ast.expr, part: str = "", always: bool = False
    ) -> None:
        """Give the names their values: one line each, or one for a word that has several results."""
        if len(names) > 1 and not isinstance(value, ast.Tuple):
            taken = tuple(name for name in names if name)
            self.lines.append(Line(taken, value, self._said(), part or scope.part))
            scope.env |= {name: ast.Name(name) for name in taken}
            return
        values = value.elts if isinstance(value, ast.Tuple) else [value]
        if len(values) != len(names):
            raise TypeError(f"{_name(scope.function)} has {len(values)} values for {len(names)} names.")
        for i, (name, given) in enumerate(zip(names, values, strict=True)):
            if name is not None:
                self.assign(scope, name, given, values[i + 1 :], part, always)

    def assign(
        self, scope: _Scope, name: str, value: ast.expr, pending: Sequence[ast.expr], part: str, always: bool
    ) -> None:
        """Write a line, unless the name already stands for this or the value is a constant to put in its place."""
        shown = scope.wishes.get(name, name) if not hasattr(scope.function, "parts") else name
        constant = number(value) is not None or isinstance(value, ast.Constant)
        if scope.silent or (constant and not always):
            scope.env[name] = value
            return
        if isinstance(value, ast.Name) and value.id == shown:
            scope.env[name] = value
            return
        needed = [e for other, e in scope.env.items() if other != name] + [*pending, *scope.outside]
        while any(isinstance(n, ast.Name) and n.id == shown for e in needed for n in ast.walk(e)):
            shown += "'"
        self.lines.append(Line((shown,), value, self._said(), part or scope.part))
        scope.env[name] = ast.Name(shown)

    def _said(self) -> str:
        note, self.note = self.note, ""
        return note

    # ---- expressions

    def value_of(
        self, scope: _Scope, node: ast.expr, wanted: tuple[str | None, ...], own: tuple[str, ...] | None = None
    ) -> tuple[ast.expr, str]:
        """Resolve what is assigned or returned; a call of another function may write lines of its own.

        `own` are the names that the value is for, in this scope; None for what is returned.
        """
        while isinstance(node, ast.IfExp):
            node = node.body if self.decided(scope, node.test) else node.orelse
        function = scope.static(node.func) if isinstance(node, ast.Call) else None
        if function in WORDS or not inspect.isfunction(function) or not isinstance(node, ast.Call):
            return self.resolved(scope, node), ""
        still = [] if own is None else [e for name, e in scope.env.items() if name not in own]
        env = self.bound(scope, function, node)
        part = _name(function) if is_step(function) else scope.part
        return self.call(function, env, part, wanted, [*still, *scope.outside], scope.silent)

    def bound(self, scope: _Scope, function: Function, node: ast.Call) -> dict[str, ast.expr]:
        """The arguments of a call by the function's own names."""
        if any(isinstance(a, ast.Starred) for a in node.args) or any(k.arg is None for k in node.keywords):
            raise TypeError(f"rule {_name(scope.function)}: write out the arguments of {_name(function)}.")
        signature = inspect.signature(function)
        args = [self.resolved(scope, a) for a in node.args]
        found = signature.bind(*args, **{str(k.arg): self.resolved(scope, k.value) for k in node.keywords})
        found.apply_defaults()
        return {k: v if isinstance(v, ast.expr) else ast.Constant(v) for k, v in found.arguments.items()}

    def resolved(self, scope: _Scope, node: ast.expr) -> ast.expr:
        """The expression in the names of the lines, with what is static decided and what is neutral gone."""

        def inner(x: ast.expr) -> ast.expr:
            return self.resolved(scope, x)

        match node:
            case ast.Constant():
                return node
            case ast.Name(id=name) if name in scope.env:
                return scope.env[name]
            case ast.IfExp(test=test, body=yes, orelse=no):
                return inner(yes if self.decided(scope, test) else no)
            case ast.Tuple(elts=elements):
                return ast.Tuple([inner(x) for x in elements])
            case ast.BinOp(left=a, op=op, right=b):
                return folded(ast.BinOp(inner(a), op, inner(b)))
            case ast.UnaryOp(op=ast.USub(), operand=x):
                return folded(ast.UnaryOp(ast.USub(), inner(x)))
            case ast.UnaryOp(op=ast.UAdd(), operand=x):
                return inner(x)
            case ast.Compare(left=a, ops=[op], comparators=[b]) if not scope.known(node):
                return ast.Compare(inner(a), [op], [inner(b)])
            case ast.Call(func=func):
                function = scope.static(func)
                if function not in WORDS and not inspect.isfunction(function):
                    raise TypeError(f"rule {_name(scope.function)}: {ast.unparse(node)!r} is no word of a formula.")
                env = self.bound(scope, function, node)
                if function in WORDS:
                    return folded(ast.Call(ast.Name(WORDS[function]), [*env.values()], []))
                return self.call(function, env, scope.part, silent=True)[0]
            case ast.Subscript(value=x, slice=ast.Constant(value=int(i))):
                many = inner(x)
                return many.elts[i] if isinstance(many, ast.Tuple) else ast.Subscript(many, ast.Constant(i))
        value = scope.static(node)  # a constant of the module, or a flag that is asked something
        if not isinstance(value, bool | int | float | str | None):
            raise TypeError(f"rule {_name(scope.function)}: {ast.unparse(node)!r} is no part of a formula.")
        return ast.Constant(value)


# ---- the source


def is_step(function: Function) -> bool:
    """Whether a function is a rule or a transform: it begins with (p, g."""
    return list(inspect.signature(function).parameters)[:2] == ["p", "g"]


def _python(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    known = number(node)
    return _Unknown() if known is None else known


def _name(function: Function) -> str:
    return getattr(function, "__name__", repr(function))


def _chosen(function: Function, env: Mapping[str, ast.expr]) -> dict[str, ast.expr]:
    return {name: env[name] for name in inspect.signature(function).parameters}


def _globals(function: Function) -> dict[str, Any]:
    function = inspect.unwrap(function)
    return {**vars(builtins), **function.__globals__, **inspect.getclosurevars(function).nonlocals}


@functools.cache
def _source(function: Function) -> tuple[ast.FunctionDef, dict[int, str]]:
    """The function's definition, and its comments by line; those for tools left out."""
    try:
        text = textwrap.dedent(inspect.getsource(inspect.unwrap(function)))
        [definition] = ast.parse(text).body
    except (OSError, TypeError, SyntaxError, ValueError):
        raise TypeError(f"the source of {_name(function)} cannot be read: put it in a file, as a def.") from None
    if not isinstance(definition, ast.FunctionDef):
        raise TypeError(f"{_name(function)} is no def; a formula is printed from one.")
    comments: dict[int, str] = {}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        said = token.string.lstrip("# ")
        if token.type == tokenize.COMMENT and not said.startswith(_FOR_TOOLS):
            comments[token.start[0]] = said
    return definition, comments


def _note(statement: ast.stmt, comments: Mapping[int, str]) -> str:
    """The comment beside a statement; of a compound one, beside its first line."""
    last = statement.lineno if hasattr(statement, "body") else statement.end_lineno or statement.lineno
    return " ".join(comments[i] for i in range(statement.lineno, last + 1) if i in comments)


def _case(scope: _Scope, statement: ast.Match, cases: Iterable[ast.match_case]) -> list[ast.stmt]:
    """The body of the case that fits: Python is asked, with each body replaced by its number."""
    bodies = [case.body for case in cases]
    numbered = [
        ast.match_case(case.pattern, case.guard, [ast.Assign([ast.Name("_which", ast.Store())], ast.Constant(i))])
        for i, case in enumerate(statement.cases)
    ]
    tree = ast.Module([ast.Match(statement.subject, numbered)], [])
    own = scope.values()
    exec(compile(ast.fix_missing_locations(tree), "<formula>", "exec"), _globals(scope.function), own)
    return bodies[own["_which"]] if "_which" in own else []
