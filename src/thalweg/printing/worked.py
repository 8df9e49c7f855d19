"""The worked example: a rule's lines with the current numbers in them, step after step.

>>> from thalweg.rules.momentum import momentum
>>> print(work(momentum, lambda p, t: p, [2.0], steps=1, lr=0.1))
step 1   p = 2   g = 2
  push <- 2
  v <- 0.9 * 0 + 2 = 2
  p <- 2 - 0.1 * 2 = 1.8
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from thalweg import ops
from thalweg.engine.trajectory import Trajectory, plain
from thalweg.printing.folding import number
from thalweg.printing.lines import read
from thalweg.printing.notation import PLAIN, UNICODE
from thalweg.signature import Rule, SlotSpec, signature_of

Gradient = Callable[[np.ndarray, int], Any]
_OPERATORS = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.Pow: operator.pow, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
}  # fmt: skip
_DIGITS = 5


@dataclass(frozen=True)
class WorkedLine:
    """One line at one step: its name, how it is computed, the same with numbers, and what comes out."""

    name: str
    formula: str
    numbers: str
    value: float | None

    def __str__(self) -> str:
        if self.value is None:  # a matrix of another shape: not this parameter's
            return f"{self.name} <- {self.numbers}"
        result = PLAIN.number(round_to(self.value))
        return f"{self.name} <- {self.numbers}" + ("" if self.numbers == result else f" = {result}")


@dataclass(frozen=True)
class Worked:
    """A few steps of a rule, written out for one parameter.

    Args:
        parameter: its name.
        steps: for each step its lines.
        trajectory: every named quantity at every step; step 0 holds what the rule starts with.
    """

    parameter: str
    steps: Sequence[Sequence[WorkedLine]]
    trajectory: Trajectory

    def __str__(self) -> str:
        blocks = []
        for step, lines in zip(self.trajectory.steps[1:], self.steps, strict=True):
            p, g = self.trajectory.at(step - 1)["p"], self.trajectory.at(step)["g"]
            place = f"{self.parameter} = " if self.parameter == "p" else f"p = {self.parameter} = "
            blocks.append(f"step {step}   {place}{PLAIN.number(round_to(p))}   g = {PLAIN.number(round_to(g))}")
            blocks += [f"  {line}" for line in lines]
        return "\n".join(blocks)

    def data(self) -> dict[str, Any]:
        """Everything as JSON can hold it."""
        steps = [[vars(line) for line in lines] for lines in self.steps]
        return plain({"parameter": self.parameter, "steps": steps, "trajectory": self.trajectory.data()})


def work(
    rule: Rule,
    gradient: Gradient,
    start: Sequence[float] | np.ndarray,
    *,
    steps: int = 3,
    parameter: int = 0,
    names: Sequence[str] = (),
    project: Callable[[np.ndarray], np.ndarray] = lambda p: p,
    **settings: Any,
) -> Worked:
    """Run the rule and write every line out with its numbers.

    Args:
        rule: the rule; its own results are what the next step goes on with.
        gradient: a function of the place (all parameters) and the step number.
        start: where to begin.
        steps: how many. Default 3.
        parameter: whose numbers are shown, counted from 0. Default 0.
        project: puts a place back where it may be, after every step.
        names: what the parameters are called. Default ``p`` for a single one, else ``p[0]``, ``p[1]`` ...
        settings: hyper-parameters that differ from their defaults.

    Raises:
        ValueError: there is no such parameter, or no step. TypeError: as for `lines.read`.
    """
    p = np.array(start, dtype=np.float64)
    if not 0 <= parameter < p.size:
        raise ValueError(f"parameter is {parameter}; it must be from 0 to {p.size - 1}: there are {p.size}.")
    if steps < 1:
        raise ValueError(f"steps is {steps}; it must be at least 1.")
    signature, lines = signature_of(rule), read(rule, **settings)
    hyper = {**signature.defaults, **settings}
    numbers = {name: np.float64(hyper[name]) for name in signature.numbers}
    slots = {name: _start(slot, p, hyper) for name, slot in signature.kept(hyper).items()}
    shown = _Shown(parameter, p.shape, frozenset(numbers))
    history: list[dict[str, Any]] = [{"p": shown.part(p), **{name: shown.part(s) for name, s in slots.items()}}]
    written: list[list[WorkedLine]] = []
    with np.errstate(all="ignore"):
        for t in range(1, steps + 1):
            g = np.array(gradient(p, t), dtype=np.float64)
            env: dict[str, Any] = {"p": p, "g": g, "t": t, **slots, **numbers}
            known = {"g": shown.part(g)}
            written.append([])
            for line in lines:
                result = value(line.value, env)
                text = PLAIN.text(shown.substituted(line.value, env, top=True))
                results = result if len(line.targets) > 1 else [result]
                for name, one in zip(line.targets, results, strict=True):
                    env[name], known[name] = one, shown.part(one)
                called = ", ".join(line.targets)
                written[-1].append(WorkedLine(called, UNICODE.text(line.value), text, shown.part(results[0])))
            answer = rule(p, g, *(slots.get(name) for name in signature.slots), t=t, **{**hyper, **numbers})
            p, *rest = answer if isinstance(answer, tuple) else (answer,)
            slots = {name: s for name, s in zip(signature.slots, rest, strict=True) if name in slots}
            _compare(signature.name, env, {"p": p, **slots})
            free, p = p, np.array(project(p), dtype=np.float64)
            if shown.part(free) != shown.part(p):
                outside = f"{PLAIN.number(round_to(shown.part(free)))}, put back to its bounds,"
                written[-1].append(WorkedLine("p", "put back to its bounds", outside, shown.part(p)))
            history.append({**known, "g": shown.part(g), **{k: shown.part(v) for k, v in {"p": p, **slots}.items()}})
    called = names[parameter] if names else "p" if p.size == 1 else f"p[{parameter}]"
    every = dict.fromkeys(name for row in history for name in row)
    values = {name: [row.get(name) for row in history] for name in every}
    return Worked(called, written, Trajectory([*range(steps + 1)], values))


def value(node: ast.expr, env: Mapping[str, Any]) -> Any:
    """What a line's expression comes to."""
    constant = number(node)
    if constant is not None:
        return constant
    match node:
        case ast.Name(id=name):
            return env[name]
        case ast.UnaryOp(operand=x):
            return -value(x, env)
        case ast.BinOp(left=a, op=op, right=b) | ast.Compare(left=a, ops=[op], comparators=[b]):
            return _OPERATORS[type(op)](value(a, env), value(b, env))
        case ast.Call(func=ast.Name(id=word), args=args):
            return getattr(ops, word)(*(value(arg, env) for arg in args))
        case ast.Subscript(value=x, slice=ast.Constant(value=i)):
            return value(x, env)[i]
    raise TypeError(f"{ast.unparse(node)!r} is no part of a formula.")


def round_to(x: Any) -> Any:
    """As many digits as are shown."""
    return float(f"{x:.{_DIGITS}g}") if isinstance(x, float) else x


@dataclass(frozen=True)
class _Shown:
    """Which number of each tensor is shown, and what of an expression."""

    parameter: int
    shape: tuple[int, ...]
    hyper: frozenset[str]

    def part(self, x: Any) -> Any:
        """This parameter's number in a tensor; a matrix of another shape has none."""
        x = np.asarray(x)
        if x.ndim == 0:
            return x.item()
        return x.reshape(-1)[self.parameter].item() if x.shape == self.shape else None

    def substituted(self, node: ast.expr, env: Mapping[str, Any], top: bool = False) -> ast.expr:
        """The expression with its numbers; sums of settings and reductions as what they come to."""

        def inner(x: ast.expr) -> ast.expr:
            return self.substituted(x, env)

        match node:
            case ast.Name():
                return self.constant(value(node, env))
            case ast.UnaryOp(op=op, operand=x):
                return ast.UnaryOp(op, inner(x))
            case ast.BinOp(op=ast.Add() | ast.Sub()) if not top and self.of_settings(node):
                return self.constant(value(node, env))
            case ast.BinOp(left=a, op=op, right=b):
                return ast.BinOp(inner(a), op, inner(b))
            case ast.Call(func=ast.Name(id="where"), args=[condition, a, b]):
                return self.substituted(a if self.part(value(condition, env)) else b, env, top)
            case ast.Call(func=ast.Name(id=word)) if word in (*ops.ROWS, *ops.REDUCTIONS, *ops.MATRIX):
                return self.constant(value(node, env))
            case ast.Call(func=func, args=args):
                return ast.Call(func, [inner(x) for x in args], [])
            case ast.Subscript():
                return self.constant(value(node, env))
        return node

    def constant(self, x: Any) -> ast.expr:
        """A number to be shown; a matrix is shown by its shape."""
        if isinstance(x, tuple):
            return ast.Name(f"[{len(x)} matrices]")
        one = self.part(x)
        return ast.Name(f"[{'x'.join(map(str, np.shape(x)))}]") if one is None else ast.Constant(round_to(one))

    def of_settings(self, node: ast.expr) -> bool:
        """Whether only hyper-parameters and numbers are in it."""
        return all(n.id in self.hyper for n in ast.walk(node) if isinstance(n, ast.Name))


def _start(slot: SlotSpec, p: np.ndarray, hyper: Mapping[str, Any]) -> Any:
    if slot.start == "p":
        return p.copy()
    first = float(hyper[slot.start] if isinstance(slot.start, str) else slot.start)
    return np.float64(first) if slot.shape == "number" else np.full_like(p, first)


def _compare(name: str, lines: Mapping[str, Any], rule: Mapping[str, Any]) -> None:
    """The lines are read from the source, the results come from running it: they must agree."""
    for output, wanted in rule.items():
        if not np.allclose(lines[output], wanted, rtol=1e-9, atol=1e-300, equal_nan=True):
            raise ArithmeticError(f"the printed lines of {name} do not give its {output}: this is our mistake.")
