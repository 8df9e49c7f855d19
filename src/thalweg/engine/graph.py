"""A rule's graph as data: what is computed on the host, and the kernels between the cuts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from thalweg import ops
from thalweg.signature import Signature

Stage = Literal["host", "number", "element"]
SYMBOLS = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "pow": "**",
    "lt": "<", "le": "<=", "gt": ">", "ge": ">=",
}  # fmt: skip
PRECEDENCE = {"lt": 0, "le": 0, "gt": 0, "ge": 0, "add": 1, "sub": 1, "mul": 2, "div": 2, "neg": 3, "pow": 4}
CUTS = (*ops.REDUCTIONS, *ops.MATRIX)


@dataclass(eq=False)
class Node:
    """One value of the graph.

    `op` is a word of `thalweg.ops`, an operator's name (``add``, ``neg``, ``lt`` ...), ``input``,
    ``constant`` (then `value` holds it) or ``item`` (one of several results: `value` is its index).
    `stage` says where it is computed: on the host once per step, once per tensor, or for every element;
    `level`, how many cuts lie before it.
    """

    op: str
    args: tuple[Node, ...] = ()
    value: float | int | bool | None = None
    name: str = ""
    stage: Stage = "host"
    level: int = 0

    def __repr__(self) -> str:
        return f"<{self.name or self.op}>"


@dataclass(frozen=True)
class Kernel:
    """What happens between two cuts, in one pass over memory.

    `numbers` are computed first, once per tensor; `reads` and `writes` are whole tensors: parameter,
    gradient, slots, and temporaries that a later kernel needs and cannot recompute; `body` is in order.
    `cuts` are the norms, totals and matrix operations that take this kernel's values; between two matrix
    operations there may be nothing else to do. `spilled` are new values of slots that are rounded as they are kept:
    where a later kernel needs them as they were computed, they are written into temporaries as well.
    """

    numbers: tuple[Node, ...]
    reads: tuple[Node, ...]
    body: tuple[Node, ...]
    writes: tuple[Node, ...]
    cuts: tuple[Node, ...]
    spilled: frozenset[Node] = frozenset()

    @property
    def idle(self) -> bool:
        """Whether nothing is computed here: the cuts take what is in memory already."""
        return not self.writes and not any(n.op in ops.REDUCTIONS for n in self.cuts)


@dataclass(frozen=True, eq=False)
class Graph:
    """A traced rule.

    Attributes:
        signature: the rule's declaration. `settings`: the flags it was traced with.
        inputs: the nodes of ``p``, ``g``, the kept slots, ``t`` and the hyper-parameters by name.
        outputs: the node of the new ``p`` and of each kept slot's new value.
        nodes: every node, each after its arguments.
    """

    signature: Signature
    settings: Mapping[str, Any]
    inputs: Mapping[str, Node]
    outputs: Mapping[str, Node]
    nodes: tuple[Node, ...] = field(repr=False)

    @property
    def slots(self) -> tuple[str, ...]:
        """The names of the slots that are kept under these settings."""
        return tuple(name for name in self.outputs if name != "p")

    @cached_property
    def host_slots(self) -> tuple[str, ...]:
        """The one-number slots that the host knows, as it knows t."""
        return tuple(name for name in self.slots if self.inputs[name].stage == "host")

    @cached_property
    def host(self) -> tuple[Node, ...]:
        """What depends on hyper-parameters, t and one-number slots alone: once per step, in float64."""
        return tuple(n for n in self.nodes if n.stage == "host" and n.args)

    @cached_property
    def elementwise(self) -> bool:
        """Whether every element of the parameter goes its own way: no cut and no sum of a row anywhere."""
        return not any(n.op in (*CUTS, *ops.ROWS) for n in self.nodes)

    @property
    def by_rows(self) -> bool:
        """Whether a sum over a row is taken: then a kernel takes whole rows, each twice while it is in the cache."""
        return any(n.op in ops.ROWS for n in self.nodes)

    @property
    def model_wide(self) -> bool:
        """Whether a `total` ties all tensors of the model together."""
        return bool(self.totals)

    @cached_property
    def totals(self) -> tuple[Node, ...]:
        """The sums over the whole model, in the order in which the rule asks for them."""
        return tuple(n for n in self.nodes if n.op == "total")

    @property
    def in_order(self) -> bool:
        """Whether the kernels give these sums in that order too, so that engines can share them."""
        levels = [n.level for n in self.totals]
        return levels == sorted(levels)

    @cached_property
    def uses_t(self) -> bool:
        """Whether the step number enters the formula."""
        return any(self.inputs["t"] in n.args for n in self.nodes)

    @cached_property
    def kernels(self) -> tuple[Kernel, ...]:
        """The kernels in order; the last one writes what the cuts decide."""
        return tuple(kernel for kernel in self.passes if not kernel.idle)

    def kernels_where(self, rounded: Collection[str]) -> tuple[Kernel, ...]:
        """The kernels where these outputs are rounded as they are kept: a later kernel cannot read them there."""
        return tuple(kernel for kernel in _cut(self, rounded) if not kernel.idle)

    @cached_property
    def passes(self) -> tuple[Kernel, ...]:
        """The kernels, and the idle places between one matrix operation and the next."""
        return tuple(_cut(self))

    def run(self, **values: Any) -> dict[str, Any]:
        """Evaluate the graph on any values that `thalweg.ops` understands: the outputs by name."""
        known: dict[Node, Any] = {node: values[name] for name, node in self.inputs.items() if name in values}
        for name, node in self.inputs.items():
            if node not in known:
                known[node] = self.signature.defaults[name]
        for node in self.nodes:
            if node not in known:
                known[node] = evaluate(node, [known[arg] for arg in node.args])
        return {name: known[node] for name, node in self.outputs.items()}

    def __str__(self) -> str:
        from thalweg.engine.readable import readable

        return readable(self)


def evaluate(node: Node, args: list[Any]) -> Any:
    """The value of one node, given those of its arguments."""
    match node.op:
        case "constant":
            return node.value
        case "item":
            return args[0][node.value]
        case "add":
            return args[0] + args[1]
        case "sub":
            return args[0] - args[1]
        case "mul":
            return args[0] * args[1]
        case "div":
            return args[0] / args[1]
        case "pow":
            return args[0] ** args[1]
        case "neg":
            return -args[0]
        case "lt":
            return args[0] < args[1]
        case "le":
            return args[0] <= args[1]
        case "gt":
            return args[0] > args[1]
        case "ge":
            return args[0] >= args[1]
        case op:
            return getattr(ops, op)(*args)


def _cut(graph: Graph, rounded: Collection[str] = ()) -> Iterator[Kernel]:
    """The passes, level by level: level k is what lies behind k cuts."""
    levels = range(max((n.level for n in graph.nodes), default=0) + 1)
    outputs = dict.fromkeys(node for node in graph.outputs.values() if node.stage == "element")
    cuts = [[n for n in graph.nodes if n.op in CUTS and max(a.level for a in n.args) == level] for level in levels]
    matrices = {a for n in graph.nodes if n.op in ops.MATRIX for a in n.args}  # these read whole tensors
    readable = {node for name, node in graph.outputs.items() if name not in rounded}.intersection(outputs)
    temporaries = {a for a in matrices if a.op not in (*CUTS, "input", "item") and a not in readable}
    while True:  # a temporary that a later level turns out to need is a target of its own level
        found: set[Node] = set()
        plans = []
        for level in levels:
            targets = [a for n in cuts[level] for a in n.args]
            targets += _kept(graph, level, outputs, temporaries)
            plans.append(_Pass(graph, level, {*readable, *temporaries}, found).need(targets))
        if found <= temporaries:
            break
        temporaries |= found
    for level, plan in zip(levels, plans, strict=True):
        numbers = [n for n in graph.nodes if n.level == level and n.stage == "number" and n.args and n.op not in CUTS]
        writes = _kept(graph, level, outputs, temporaries)
        if plan.body or writes or cuts[level]:
            reads = sorted(plan.reads, key=graph.nodes.index)
            spilled = frozenset(temporaries.intersection(outputs))
            yield Kernel(tuple(numbers), tuple(reads), tuple(plan.body), tuple(writes), tuple(cuts[level]), spilled)


def _kept(graph: Graph, level: int, outputs: Iterable[Node], temporaries: set[Node]) -> list[Node]:
    """What a level writes: the outputs in the rule's order, then what later levels need."""
    later = [n for n in graph.nodes if n in temporaries]
    return [n for n in dict.fromkeys([*outputs, *later]) if n.level == level]


class _Pass:
    """What one level needs: what it reads, and what it computes, again where that is possible."""

    def __init__(self, graph: Graph, level: int, stored: set[Node], found: set[Node]):
        self.old = {graph.inputs[name]: graph.outputs[name] for name in ("p", *graph.slots)}
        self.level, self.stored, self.found = level, stored, found
        self.reads: dict[Node, None] = {}
        self.body: list[Node] = []

    def in_memory(self, n: Node) -> bool:
        if n.op == "input":  # the old value is there until a pass before this one writes the new
            return n not in self.old or self.old[n] is n or self.old[n].level >= self.level
        return n.op in CUTS or n.op == "item" or (n.level < self.level and n in self.stored)

    def reachable(self, n: Node) -> bool:
        if n.stage != "element" or self.in_memory(n):
            return True
        return n.op != "input" and all(self.reachable(a) for a in n.args)

    def need(self, targets: Iterable[Node]) -> _Pass:
        for n in targets:
            if n.stage != "element" or n in self.reads or n in self.body:
                continue
            if self.in_memory(n):
                self.reads[n] = None
            elif n.level < self.level and not self.reachable(n):
                self.found.add(n)
                self.reads[n] = None
            else:
                self.need(n.args)
                self.body.append(n)
        return self
