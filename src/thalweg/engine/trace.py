"""Call a rule once with nodes instead of tensors, and keep what it did as a graph.

>>> from thalweg.rules.sgd import sgd
>>> print(trace(sgd))
sgd   slots: none
kernel 1 of 1   reads p g   writes p'
    p' = p - lr * g
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any

from thalweg import ops
from thalweg.engine.graph import CUTS, Graph, Node, Stage
from thalweg.signature import Rule, check_flag, did_you_mean, signature_of

_STAGES: tuple[Stage, ...] = ("host", "number", "element")
_RESULTS = {"eigh": 2, "qr": 2}
_MACHINERY = ("thalweg.engine", "thalweg.ops")


class Symbol:
    """What a rule is called with: every operation on it is recorded."""

    __array_ufunc__ = None  # numpy values step back: our reflected operators answer
    __hash__ = object.__hash__

    def __init__(self, node: Node, recorder: Recorder):
        self.node = node
        self.recorder = recorder

    def __thalweg_op__(self, name: str, args: tuple[Any, ...]) -> Any:
        return self.recorder.record(name, args)

    def __bool__(self) -> bool:
        raise TypeError(
            "a rule may not ask 'if' of a value: the answer may differ for every element. Use where(...), or "
            "make the argument static (a bool or a Literal)."
        )

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(_foreign(f".{name}", name))

    def __abs__(self) -> Any:
        raise TypeError(_foreign("Python's abs", "abs"))

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for arg in args:
            if not isinstance(arg, Symbol):
                Recorder().node(arg)  # a tensor from elsewhere is refused as such
        name = getattr(function, "__name__", str(function))
        raise TypeError(_foreign(f"torch's {name}", name))

    def __float__(self) -> float:
        raise TypeError("a rule may not turn a value into a Python number: it has to stay data.")


def _foreign(what: str, name: str) -> str:
    words = [*ops.ELEMENTWISE, *ops.REDUCTIONS, *ops.ROWS, *ops.MATRIX]
    return (
        f"a rule may not use {what}: a formula is made of + - * / ** and the words of thalweg.ops."
        f"{did_you_mean(name, words)}"
    )


def _operator(name: str, reflected: bool = False):
    def method(self: Symbol, other: Any) -> Any:
        return self.recorder.record(name, (other, self) if reflected else (self, other))

    return method


for _name, _method in {"add": "add", "sub": "sub", "mul": "mul", "div": "truediv", "pow": "pow"}.items():
    setattr(Symbol, f"__{_method}__", _operator(_name))
    setattr(Symbol, f"__r{_method}__", _operator(_name, reflected=True))
for _name in ("lt", "le", "gt", "ge"):
    setattr(Symbol, f"__{_name}__", _operator(_name))
Symbol.__neg__ = lambda self: self.recorder.record("neg", (self,))  # pyright: ignore[reportAttributeAccessIssue]


class Recorder:
    """The nodes met so far; the same operation on the same values is one node."""

    def __init__(self) -> None:
        self.nodes: dict[tuple[Any, ...], Node] = {}

    def input(self, name: str, stage: Stage) -> Symbol:
        """A value that the rule is called with."""
        node = Node("input", name=name, stage=stage)
        self.nodes["input", name] = node
        return Symbol(node, self)

    def record(self, op: str, args: tuple[Any, ...]) -> Any:
        """The symbol of an operation's result."""
        nodes = tuple(self.node(arg) for arg in args)
        if op in ops.ROWS and nodes[0].stage != "element":
            raise TypeError(f"a rule asks for the {op} of a number: only tensors have rows.")
        if op in ("mul", "div") and nodes[1].op == "constant" and nodes[1].value == 1:
            return Symbol(nodes[0], self)  # exact, and a flag that is off costs nothing
        result = self.add(op, nodes)
        if op in _RESULTS:
            return tuple(Symbol(self.add("item", (result,), i), self) for i in range(_RESULTS[op]))
        return Symbol(result, self)

    def add(self, op: str, args: tuple[Node, ...], value: Any = None) -> Node:
        """The node of an operation, made only once."""
        key = (op, *map(id, args), value)
        if key not in self.nodes:
            self.nodes[key] = Node(op, args, value, stage=_stage(op, args), level=_level(op, args))
        return self.nodes[key]

    def node(self, value: Any) -> Node:
        """The node of an argument: a symbol's own, or a constant."""
        if isinstance(value, Symbol):
            return value.node
        if not isinstance(value, bool | int | float):
            raise TypeError(
                f"a rule met {value!r} of type {type(value).__name__}: a formula holds its own arguments and plain "
                "numbers only."
            )
        key = ("constant", type(value), value)
        if key not in self.nodes:
            self.nodes[key] = Node("constant", value=value)
        return self.nodes[key]


def _stage(op: str, args: tuple[Node, ...]) -> Stage:
    if op in ops.REDUCTIONS:
        return "number"
    if op in ops.MATRIX or op == "item":
        return "element"
    return _STAGES[max(_STAGES.index(arg.stage) for arg in args)]


def _level(op: str, args: tuple[Node, ...]) -> int:
    return max(arg.level for arg in args) + (op in CUTS)


def trace(rule: Rule, **settings: Any) -> Graph:
    """The graph of a rule.

    Args:
        rule: a function ``(p, g, slots ..., *, t, hyper-parameters ...)``.
        settings: flags (each value is a graph of its own), and numbers where a slot depends on them
            (``momentum=0.9``); everything else stays symbolic.

    Raises:
        TypeError: the function is not a rule, or does something a formula may not (an ``if`` on a value,
            a foreign function).
    """
    signature = signature_of(rule)
    for name, value in settings.items():
        if name not in signature.defaults:
            raise TypeError(f"{signature.name} has no argument {name}.{did_you_mean(name, signature.defaults)}")
        if name in signature.flags:
            check_flag(name, value, signature.flags[name])
    kept = tuple(signature.kept(settings))
    flags = {name: settings.get(name, values[0]) for name, values in signature.flags.items()}
    return _trace(rule, kept, tuple(flags.items()))


@functools.lru_cache(maxsize=1024)
def _trace(rule: Rule, kept: tuple[str, ...], flags: tuple[tuple[str, Any], ...]) -> Graph:
    signature = signature_of(rule)
    # A one-number slot lives on the host unless its new value comes from a cut: try, and see.
    numbers: set[str] = set()
    while True:
        graph = _record(rule, kept, dict(flags), numbers)
        found = {name for name, node in graph.outputs.items() if name in kept and node.stage != "host"}
        found = {name for name in found if signature.slots[name].shape == "number"}
        if found <= numbers:
            return graph
        numbers |= found


def _record(rule: Rule, kept: tuple[str, ...], flags: dict[str, Any], numbers: set[str]) -> Graph:
    signature = signature_of(rule)
    recorder = Recorder()
    inputs: dict[str, Symbol] = {name: recorder.input(name, "element") for name in ("p", "g")}
    for name in kept:
        on_host = signature.slots[name].shape == "number" and name not in numbers
        one = "number" if signature.slots[name].shape == "number" else "element"
        inputs[name] = recorder.input(name, "host" if on_host else one)
    for name in ("t", *signature.numbers):
        inputs[name] = recorder.input(name, "host")
    slots = [inputs.get(name) for name in signature.slots]
    hyper = {name: inputs[name] for name in ("t", *signature.numbers)}
    with ThreadPoolExecutor(1) as thread:  # a profile function belongs to a thread: the user's profiler keeps its own
        call = functools.partial(rule, inputs["p"], inputs["g"], *slots, **hyper, **flags)
        result = thread.submit(_named, call).result()
    results = result if isinstance(result, tuple) else (result,)
    if len(results) != 1 + len(slots):
        raise TypeError(
            f"rule {signature.name} returned {len(results)} values; it must return p and its "
            f"{len(slots)} slots, in order."
        )
    outputs: dict[str, Node] = {}
    for name, value in zip(("p", *signature.slots), results, strict=True):
        if name != "p" and name not in kept:
            if value is not None:
                raise TypeError(f"rule {signature.name}: slot {name} is not kept here, so it must return None.")
        else:
            outputs[name] = recorder.node(value)
            one_number = name != "p" and signature.slots[name].shape == "number"
            if one_number == (outputs[name].stage == "element"):
                found, wanted = ("a value for each element", "one number")[:: 1 if one_number else -1]
                raise TypeError(f"rule {signature.name}: its new {name} is {found}; it must be {wanted}.")
    nodes = tuple(recorder.nodes.values())
    return Graph(signature, flags, {name: s.node for name, s in inputs.items()}, outputs, nodes)


def _named(call: Callable[[], Any]) -> Any:
    """What the call returns; nodes get the names that the rule's own lines give them, by looking at frames that end."""

    def look(frame: FrameType, event: str, _: Any) -> None:
        if event == "return" and not frame.f_globals.get("__name__", "").startswith(_MACHINERY):
            for name, value in frame.f_locals.items():
                if isinstance(value, Symbol) and not value.node.name:
                    value.node.name = name

    sys.setprofile(look)
    try:
        return call()
    finally:
        sys.setprofile(None)
